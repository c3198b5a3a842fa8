"""Training batches of the point decoder: points of synthetic pairs with their exact partners."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_scripts.two_view import TwoView, sample_warp
from matching.data import PairBatches, grey

VISIBLE_SHARE = 0.5  # of the points are drawn among those that the other image shows, if it does
POINT_SEED = 1 << 20  # keeps the drawing of points apart from that of pairs


@dataclass(frozen=True)
class PointPairs:
    """B pairs of one size with N points each."""

    image0: Tensor  # (B, 1, H, W) grey in [0, 1]
    image1: Tensor  # (B, 1, H, W)
    points0: Tensor  # (B, N, 2) x, y in pixels of image 0, anywhere in it
    points1: Tensor  # (B, N, 2) the same things in image 1, 0 where not visible
    visible: Tensor  # (B, N) bool

    def to(self, device: torch.device) -> "PointPairs":
        """The same on another device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        return replace(self, **moved)


class PointBatches(Dataset[PointPairs]):
    """Batch number n of an endless stream: the pairs of batch n of `pairs`, and points of theirs.

    Args:
        pairs: gives the views.
        points: N.
    """

    def __init__(self, pairs: PairBatches, points: int) -> None:
        self.pairs = pairs
        self.points = points

    def __getitem__(self, number: int) -> PointPairs:
        views = self.pairs.views(number)
        generator = torch.Generator().manual_seed((self.pairs.seed << 32) + number + POINT_SEED)
        drawn = [drawn_points(view, self.points, generator) for view in views]
        return PointPairs(
            image0=torch.stack([grey(view.image0) for view in views]),
            image1=torch.stack([grey(view.image1) for view in views]),
            points0=torch.stack([each[0] for each in drawn]),
            points1=torch.stack([each[1] for each in drawn]),
            visible=torch.stack([each[2] for each in drawn]),
        )


def drawn_points(
    view: TwoView, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, 2) of image 0, their partners (N, 2), and which are visible (N,).

    Half of them lie anywhere, half near visible pixels, at any fraction of a pixel.
    """
    H, W = view.visible_0to1.shape
    limit = torch.tensor([W - 1.0, H - 1.0])
    points = torch.rand(count, 2, generator=generator) * limit
    rows, columns = torch.where(view.visible_0to1)
    if len(rows):
        some = torch.randint(len(rows), (round(VISIBLE_SHARE * count),), generator=generator)
        pixels = torch.stack([columns[some], rows[some]], -1).float()
        pixels = pixels + torch.rand(pixels.shape, generator=generator) - 0.5
        points[: len(pixels)] = pixels.clamp_min(0).minimum(limit)
    partners, visible = sample_warp(view.warp_0to1, view.visible_0to1, points)
    return points, partners, visible


def joined(parts: Sequence[PointPairs]) -> PointPairs:
    """Batches of one size as one."""
    names = PointPairs.__dataclass_fields__
    return PointPairs(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})
