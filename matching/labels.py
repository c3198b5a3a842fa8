"""Ground truth of coarse and fine matching from exact warps between two views.

The same labels serve homographies, layered planes, ray-cast scenes and depth with pose: all of them
arrive as `data_scripts.TwoView`. As in LoFTR (Sun et al. 2021, sec. 3.5) a pair of cells is a match
when each holds the other's centre.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_scripts.two_view import TwoView, sample_warp

STRIDE = 8  # pixels of a coarse cell


@dataclass(frozen=True)
class PairLabels:
    """Labels of one pair; L cells of image 0, row-major."""

    partner: Tensor  # (L,) int64 cell of image 1, -1 where there is none
    target: Tensor  # (L, 2) x, y in pixels of image 1 of each cell centre of image 0
    known: Tensor  # (L,) bool, True where `target` is visible and sure


def cell_centres(height: int, width: int, centre: float) -> Tensor:
    """Centres x, y (L, 2) in pixels of the coarse cells of an image of `height` x `width` pixels."""
    y = torch.arange(height // STRIDE, dtype=torch.float32) * STRIDE + centre
    x = torch.arange(width // STRIDE, dtype=torch.float32) * STRIDE + centre
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x.flatten(), grid_y.flatten()], -1)


def pair_labels(view: TwoView, centre: float) -> PairLabels:
    """Labels of one pair; `centre` is where a cell's middle lies in it, in pixels."""
    (_, H0, W0), (_, H1, W1) = view.image0.shape, view.image1.shape
    points0, points1 = cell_centres(H0, W0, centre), cell_centres(H1, W1, centre)
    target, known = sample_warp(view.warp_0to1, view.visible_0to1, points0)
    back, known_back = sample_warp(view.warp_1to0, view.visible_1to0, points1)
    ahead = _cell_of(target, known, (H1, W1), centre)
    behind = _cell_of(back, known_back, (H0, W0), centre)
    cells = torch.arange(len(ahead))
    mutual = (ahead >= 0) & (behind[ahead.clamp_min(0)] == cells)
    return PairLabels(torch.where(mutual, ahead, -1), target, known)


def _cell_of(points: Tensor, known: Tensor, size: tuple[int, int], centre: float) -> Tensor:
    """Number of the cell whose centre is nearest to each point (P, 2), -1 outside or unknown."""
    rows, columns = size[0] // STRIDE, size[1] // STRIDE
    cell = ((points - centre) / STRIDE).round().long()
    x, y = cell.unbind(-1)
    inside = known & (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return torch.where(inside, y * columns + x, -1)
