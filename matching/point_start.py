"""Where a point is looked for first: the peak of its correlation with the coarse map of the other image.

The score of a cell is its dual-softmax confidence (LoFTR, Sun et al. 2021, sec. 3.3), for which the
tokens were trained: how likely the cell is for the point, times how likely the point is for the cell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_ops.reference_points import xy
from matching.point_maps import COARSE_STRIDE, SideMaps, square

WINDOW = 3  # cells: round the peak, over which its place is averaged
TILE = 1024  # cells of image 1 compared at a time with all of image 0


@dataclass(frozen=True)
class Tokens:
    """Coarse tokens of both images, scaled so that inner products are similarities."""

    unit0: Tensor  # (B, L, C)
    unit1: Tensor  # (B, S, C)
    scale: Tensor  # ()
    size1: tuple[int, int]  # cells of image 1, height and width
    mask1: Tensor | None  # (B, S) bool
    behind: Tensor  # (B, S) log of the sum over image 0 of exp(similarity)


def compared_tokens(
    unit0: Tensor, unit1: Tensor, scale: Tensor, side0: SideMaps, side1: SideMaps
) -> Tokens:
    """Tokens (B, L, C), (B, S, C) ready for `correlation_peak`."""
    mask0 = None if side0.mask is None else side0.mask.flatten(1)[:, None]
    behind = []
    for part in unit1.split(TILE, 1):
        similarity = scale * part @ unit0.mT  # (B, TILE, L)
        if mask0 is not None:
            similarity = similarity.masked_fill(~mask0, torch.finfo(similarity.dtype).min)
        behind.append(similarity.logsumexp(-1))
    mask1 = None if side1.mask is None else side1.mask.flatten(1)
    height, width = side1.tokens.shape[-2:]
    return Tokens(unit0, unit1, scale, (height, width), mask1, torch.cat(behind, 1))


def correlation_peak(query: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Best place (B, N, 2) in pixels of image 1 for unit tokens (B, N, C), and its certainty.

    The certainty (B, N, 2) holds the logs of both factors of the confidence at the peak.
    """
    similarity = tokens.scale * query @ tokens.unit1.mT  # (B, N, S)
    if tokens.mask1 is not None:
        lowest = torch.finfo(similarity.dtype).min / 4
        similarity = similarity.masked_fill(~tokens.mask1[:, None], lowest)
    ahead = similarity.logsumexp(-1, keepdim=True)
    score = 2 * similarity - tokens.behind[:, None]
    peak = score.argmax(-1, keepdim=True)  # (B, N, 1)
    at_peak = similarity.gather(-1, peak)
    behind = tokens.behind[:, None].expand_as(similarity).gather(-1, peak)
    certainty = torch.cat([at_peak - ahead, at_peak - behind], -1)
    return _settled(similarity, peak, tokens.size1), certainty.clamp(-20.0, 5.0)


def _settled(similarity: Tensor, peak: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean place in pixels, weighted by likelihood, of the cells round the peak."""
    height, width = size
    steps = square(WINDOW, similarity)
    middle = torch.stack([peak % width, peak // width], -1)  # (B, N, 1, 2)
    cells = middle + steps.long()  # (B, N, P, 2)
    limit = xy(width, height, cells)
    inside = ((cells >= 0) & (cells < limit)).all(-1)
    cells = cells.clamp_min(0).minimum(limit - 1)
    near = similarity.gather(-1, cells[..., 1] * width + cells[..., 0])
    weight = near.masked_fill(~inside, -torch.inf).softmax(-1)
    place = (weight[..., None] * cells).sum(-2)
    return place * COARSE_STRIDE + (COARSE_STRIDE - 1) / 2
