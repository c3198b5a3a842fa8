"""Recurrent refinement of disparity at 1/4, and its learned enlargement to the image.

As RAFT-Stereo (Lipson, Teed and Deng 2021, sec. 3): a convolutional GRU reads the scores of the row round
the present estimate and moves it; a convex combination of neighbours enlarges the result (Teed and Deng
2020, sec. 3.3). Works in cells of the 1/4 map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENLARGE = 4
DISP_SCALE = 16.0  # cells; brings disparities into the range of the other inputs
MIN_LOG_SPREAD, MAX_LOG_SPREAD = -4.0, 4.0  # keeps exp() and its gradient in range


@dataclass(frozen=True)
class Refinement:
    """What the refinement gives at the size of the image, after each step where it says so."""

    disparity: tuple[Tensor, ...]  # (B, 4 H, 4 W) px, one per step
    occlusion_logit: Tensor  # (B, 4 H, 4 W)
    log_spread: Tensor  # (B, 4 H, 4 W) log of the expected error in px


class Refiner(nn.Module):
    """Moves a disparity map, cell by cell, to where left and right agree.

    Args:
        channels: C of the left feature map.
        hidden: channels of the recurrent state.
        iterations: steps.
        radius: cells each way that a step sees of the scores.
        scales: scales of the scores.
    """

    def __init__(
        self, channels: int, hidden: int = 48, iterations: int = 4, radius: int = 4, scales: int = 2
    ) -> None:
        super().__init__()
        self.iterations, self.radius, self.scales = iterations, radius, scales
        motion = hidden // 2
        self.start = nn.Conv2d(channels, 4 * hidden, 3, padding=1)
        self.scores = nn.Conv2d(scales * (2 * radius + 1) + 3, 2 * motion, 1)
        self.motion = nn.Conv2d(2 * motion, motion, 3, padding=1)
        self.gates = nn.Conv2d(hidden + motion, 2 * hidden, 3, padding=1, bias=False)
        self.candidate = nn.Conv2d(hidden + motion, hidden, 3, padding=1, bias=False)
        self.heads = nn.Sequential(
            nn.Conv2d(hidden, motion, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(motion, 3, 1)
        )
        self.mask = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * hidden, 9 * ENLARGE**2, 1),
        )

    def forward(self, feature: Tensor, scores: Tensor, disp: Tensor, mass: Tensor) -> Refinement:
        """Refines disp.

        Args:
            feature: (B, C, H, W) of the left image.
            scores: (B, H, W, S) of every left cell with every right cell of its row.
            disp: (B, 1, H, W) first estimate in cells.
            mass: (B, 1, H, W) how sure it is, in [0, 1].
        """
        hidden = self.candidate.out_channels
        start, to_gates, to_candidate = self.start(feature).split([hidden, 2 * hidden, hidden], 1)
        state = start.tanh()
        pyramid = score_pyramid(scores, self.scales)
        found, heads = [], disp
        for step in range(self.iterations):
            disp = disp.detach()
            motion = self._motion(pyramid, disp, mass)
            state = self._update(state, to_gates, to_candidate, motion)
            heads = self.heads(state)
            disp = disp + heads[:, :1]
            if self.training or step == self.iterations - 1:
                found.append(disp)
        return self._enlarged(state, found, heads[:, 1:])

    def _motion(self, pyramid: list[Tensor], disp: Tensor, mass: Tensor) -> Tensor:
        """What a step sees: scores round the estimate, the estimate, and where it left the image."""
        seen = look_up(pyramid, disp[:, 0], self.radius)
        column = torch.arange(disp.shape[-1], device=disp.device, dtype=disp.dtype)
        inside = (column - disp >= -0.5).to(disp.dtype)
        seen = torch.cat([seen.to(disp.dtype), disp / DISP_SCALE, mass, inside], 1)
        motion: Tensor = self.motion(self.scores(seen).relu()).relu()
        return motion

    def _update(
        self, state: Tensor, to_gates: Tensor, to_candidate: Tensor, motion: Tensor
    ) -> Tensor:
        """One step of a convolutional GRU (Cho et al. 2014); the context adds to its inner sums."""
        gates = self.gates(torch.cat([state, motion], 1)) + to_gates
        update, reset = gates.sigmoid().chunk(2, 1)
        candidate = self.candidate(torch.cat([reset * state, motion], 1)) + to_candidate
        return torch.lerp(state, candidate.tanh(), update)

    def _enlarged(self, state: Tensor, disps: list[Tensor], heads: Tensor) -> Refinement:
        weight = 0.25 * self.mask(state)
        weight = weight.unflatten(1, (9, ENLARGE**2)).softmax(1)  # (B, 9, 16, H, W)
        disparity = [enlarged(weight, ENLARGE * disp)[:, 0] for disp in disps]
        spread = heads[:, 1:].clamp(MIN_LOG_SPREAD, MAX_LOG_SPREAD)
        return Refinement(
            tuple(disparity), enlarged(weight, heads[:, :1])[:, 0], enlarged(weight, spread)[:, 0]
        )


def score_pyramid(scores: Tensor, scales: int) -> list[Tensor]:
    """Scores (B, H, W, S), then with pairs of right cells averaged, and again: `scales` in all."""
    pyramid = [scores]
    for _ in range(scales - 1):
        rows = F.avg_pool1d(pyramid[-1].flatten(0, 2)[:, None], 2, ceil_mode=True)
        pyramid.append(rows[:, 0].unflatten(0, scores.shape[:3]))
    return pyramid


def look_up(pyramid: list[Tensor], disp: Tensor, radius: int) -> Tensor:
    """Scores of the right cells round x - disp, linearly interpolated, 0 outside the row.

    Args:
        pyramid: of `score_pyramid`, (B, H, W, S) at first.
        disp: (B, H, W) in cells.
        radius: right cells each way, on each scale.

    Returns:
        (B, scales * (2 radius + 1), H, W).
    """
    column = torch.arange(disp.shape[-1], device=disp.device, dtype=disp.dtype)
    steps = torch.arange(-radius, radius + 2, device=disp.device)
    found = []
    for scale, scores in enumerate(pyramid):
        place = (column - disp + 0.5) / 2**scale - 0.5
        whole = place.detach().floor()
        index = whole.long()[..., None] + steps  # (B, H, W, 2 radius + 2)
        inside = (index >= 0) & (index < scores.shape[-1])
        near = scores.gather(-1, index.clamp(0, scores.shape[-1] - 1)) * inside
        found.append(torch.lerp(near[..., :-1], near[..., 1:], (place - whole)[..., None]))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def enlarged(weight: Tensor, values: Tensor) -> Tensor:
    """Map (B, 1, H, W) at (B, 1, 4 H, 4 W): each pixel a convex mix of the 3 x 3 cells round it.

    weight (B, 9, 16, H, W) sums to 1 over its second axis.
    """
    H, W = values.shape[-2:]
    near = F.unfold(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3).unflatten(2, (H, W))
    mixed = (weight * near[:, :, None]).sum(1)  # (B, 16, H, W)
    return F.pixel_shuffle(mixed, ENLARGE)
