"""Losses of the stereo network: transport at the true cells, disparity of every step, occlusion, spread.

Transport: negative log-likelihood of the true right cell, linearly interpolated, and of the dustbin where
the other image does not show a cell (Li et al. 2021, eq. 9). Disparity: L1 of every step, later steps count
more (Lipson et al. 2021, eq. 5). Spread: negative log-likelihood of a Laplace distribution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stereo.data import Batch
from stereo.model import STRIDE, StereoSteps
from stereo.refine import Refinement

SHARE_FLOOR = 1e-6
STEP_DECAY = 0.8  # weight of a step over that of the next one
FAR_PX = 192.0  # errors beyond this count no more
OCCLUDED_WEIGHT = 0.5  # of disparities that only one image shows: they are guesses


@dataclass(frozen=True)
class StereoLoss:
    """Parts of the loss."""

    transport: Tensor  # ()
    disparity: Tensor  # ()
    occlusion: Tensor  # ()
    spread: Tensor  # ()

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.transport + 0.2 * self.disparity + 0.5 * self.occlusion + 0.1 * self.spread


def stereo_loss(steps: StereoSteps, batch: Batch) -> StereoLoss:
    """Loss of one batch."""
    return StereoLoss(
        transport_loss(steps.assignment, batch),
        disparity_loss(steps.refinement.disparity, batch),
        occlusion_loss(steps.refinement.occlusion_logit, batch),
        spread_loss(steps.refinement, batch),
    )


def transport_loss(assignment: Tensor, batch: Batch) -> Tensor:
    """Mean over the cells whose partner, or whose want of one, is known.

    Cell i has its middle at pixel 4 i + 1.5 in both images, so its partner is i - disp / 4.
    """
    middle = slice(STRIDE // 2, None, STRIDE)
    disp, known, occluded = (
        part[:, middle, middle] for part in (batch.disp, batch.known, batch.occluded)
    )
    columns = torch.arange(disp.shape[-1], device=disp.device)
    place = columns - disp / STRIDE
    left = place.floor().long()
    share = place - left
    seen = known & ~occluded & (place >= 0)
    cells = assignment[:, :, :-1]
    # the last column has no right neighbour: its disparity is 0 and so is the neighbour's weight
    here, right = (
        cells.gather(-1, (left + step).clamp(0, disp.shape[-1] - 1)[..., None])[..., 0]
        for step in (0, 1)
    )
    matched = torch.lerp(here, right, share)[seen]
    left_bin = assignment[:, :, :-1, -1][occluded]
    right_bin = assignment[:, :, -1, :-1][batch.occluded_right[:, middle, middle]]
    shares = torch.cat([matched, left_bin, right_bin])
    return -(shares + SHARE_FLOOR).log().sum() / max(len(shares), 1)


def disparity_loss(disparity: tuple[Tensor, ...], batch: Batch) -> Tensor:
    """Weighted L1 of all steps in px."""
    weight = batch.known * torch.where(batch.occluded, OCCLUDED_WEIGHT, 1.0)
    total = batch.disp.new_zeros(())
    for number, disp in enumerate(reversed(disparity)):
        error = (disp - batch.disp).abs().clamp(max=FAR_PX)
        total = total + STEP_DECAY**number * (weight * error).sum()
    return total / weight.sum().clamp_min(1)


def occlusion_loss(logit: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy where disparity is known."""
    error = F.binary_cross_entropy_with_logits(
        logit, batch.occluded.to(logit.dtype), reduction="none"
    )
    return (error * batch.known).sum() / batch.known.sum().clamp_min(1)


def spread_loss(refinement: Refinement, batch: Batch) -> Tensor:
    """Laplace negative log-likelihood of the last error; the disparity gets no gradient of it."""
    error = (refinement.disparity[-1].detach() - batch.disp).abs().clamp(max=FAR_PX)
    likelihood = error * torch.exp(-refinement.log_spread) + refinement.log_spread
    return (likelihood * batch.known).sum() / batch.known.sum().clamp_min(1)
