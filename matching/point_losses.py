"""Loss of the point decoder: every layer's reference point, the sub-pixel stage, visibility.

Distances of layers are compressed where the start is a peak of correlation: a point whose peak is wrong
cannot be mended by small steps and must not rule the gradient. Of the sub-pixel stage: negative
log-likelihood of a Laplace distribution, as in `matching.losses`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from matching.point_decoder import Decoded
from matching.point_maps import COARSE_STRIDE, FINE_STRIDE
from matching.refine import REACH

FAR = 4.0  # fine cells: errors of the sub-pixel stage beyond this count no more
RIGHT_PX = 5.0  # an answer at most so far off is right, for the confidence


@dataclass(frozen=True)
class PointReport:
    """Numbers of one step; distances in pixels, over visible points."""

    loss: float
    start_5px: float  # share of first reference points within 5 px
    within_1px: float  # share of answers
    within_3px: float
    within_5px: float
    median_px: float
    visible_right: float  # share of points whose visibility is told rightly


def point_loss(
    decoded: Decoded, target: Tensor, visible: Tensor, reach_cells: float
) -> tuple[Tensor, PointReport]:
    """Loss () and report of answers against targets (B, N, 2) px of the visible (B, N).

    Args:
        decoded: the answers.
        target: where the points are.
        visible: which are there; the others count for visibility only.
        reach_cells: distances of layers beyond so many coarse cells count less and less; infinity
            counts them in full.
    """
    distance = decoded.points.detach().sub(target).norm(dim=-1)
    layers = torch.stack([_cells(points, target, reach_cells) for points in decoded.layers])
    loss = _mean(layers.mean(0), visible)
    before = decoded.layers[-1].detach()
    for points, log_spread in zip(decoded.refined, decoded.log_spreads, strict=True):
        loss = loss + _sub_pixel(points, log_spread, before, target, visible)
        before = points.detach()
    right = visible & (distance <= RIGHT_PX)
    loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(
        decoded.visible_logit, right.to(target.dtype)
    )
    return loss, _report(loss, decoded, distance, target, visible, right)


def _cells(points: Tensor, target: Tensor, reach: float) -> Tensor:
    """Distances (B, N) in coarse cells, compressed beyond `reach`."""
    away = (points - target).abs().sum(-1) / COARSE_STRIDE
    return away if math.isinf(reach) else reach * torch.log1p(away / reach)


def _sub_pixel(
    points: Tensor, log_spread: Tensor, before: Tensor, target: Tensor, visible: Tensor
) -> Tensor:
    """Laplace likelihood of one pass, for points that it could reach."""
    error = ((points - target).abs() / FINE_STRIDE).clamp(max=FAR).mean(-1)
    reachable = ((target - before).abs() < FINE_STRIDE * REACH).all(-1)
    return _mean(error * torch.exp(-log_spread) + log_spread, visible & reachable)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean () of values (B, N) where `chosen`, 0 where nothing is."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _report(
    loss: Tensor,
    decoded: Decoded,
    distance: Tensor,
    target: Tensor,
    visible: Tensor,
    right: Tensor,
) -> PointReport:
    start = decoded.start.detach().sub(target).norm(dim=-1)
    told = (decoded.visible_logit.detach() > 0) == right
    return PointReport(
        loss=float(loss.detach()),
        start_5px=_share(start, 5.0, visible),
        within_1px=_share(distance, 1.0, visible),
        within_3px=_share(distance, 3.0, visible),
        within_5px=_share(distance, 5.0, visible),
        median_px=float(distance[visible].median()) if visible.any() else float("nan"),
        visible_right=float(told.float().mean()),
    )


def _share(distance: Tensor, limit_px: float, visible: Tensor) -> float:
    """Of the visible points, those within `limit_px`."""
    return float(_mean((distance <= limit_px).float(), visible))
