"""Sub-pixel stage of the point decoder: how a patch round the point correlates with one round the estimate.

The correlations say how two patches lie to each other whatever they show (Teed and Deng, "RAFT",
ECCV 2020, sec. 3.2), as in `matching.refine`; here the patch of image 0 is centred on the point itself.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matching.point_maps import FINE_STRIDE, in_cells, sample, square
from matching.refine import PATCH, TEMPLATE, PatchRefiner, patch_regressor, step_of


class PointRefiner(nn.Module):
    """Moves estimates by up to `REACH` fine cells, several times.

    Args:
        refinements: how many times.
    """

    def __init__(self, refinements: int) -> None:
        super().__init__()
        self.refinements = refinements
        self.regress = patch_regressor()
        self.sharpness = nn.Parameter(torch.tensor(4.0))  # correlations in [-1, 1] times this

    @torch.no_grad()
    def begin_as(self, refiner: PatchRefiner) -> None:
        """Takes the weights of a matcher's refiner, which reads the same correlations."""
        self.regress.load_state_dict(refiner.regress.state_dict())
        self.sharpness.copy_(refiner.sharpness)

    def forward(
        self, fine0: Tensor, fine1: Tensor, points0: Tensor, points1: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Estimates after each pass.

        Args:
            fine0: (B, D, H0/2, W0/2).
            fine1: (B, D, H1/2, W1/2).
            points0: (B, N, 2) px of image 0.
            points1: (B, N, 2) px of image 1, first estimates.

        Returns:
            Points (B, N, 2) in pixels and the logs (B, N) of their expected error in fine cells.
        """
        template = _patch(fine0, points0, TEMPLATE)
        estimates, log_spreads = [], []
        for _ in range(self.refinements):
            points1 = points1.detach()
            correlation = template @ _patch(fine1, points1, PATCH).mT  # (B, N, P, Q)
            step, log_spread = step_of(self.regress, self.sharpness * correlation)
            points1 = points1 + FINE_STRIDE * step
            estimates.append(points1)
            log_spreads.append(log_spread)
        return estimates, log_spreads


def _patch(fine: Tensor, points: Tensor, side: int) -> Tensor:
    """Unit features (B, N, side * side, D) of a square of cells round each point (B, N, 2)."""
    middle = in_cells(points, FINE_STRIDE)
    return F.normalize(sample(fine, middle[:, :, None] + square(side, points)), dim=-1)
