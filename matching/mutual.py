"""Mutual best cells: from scores, or from cells found in tiles, to `CoarseMatches`.

Owns the rules of choice (mutual maximum, ties, threshold, border, order); knows nothing of how a
confidence comes about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from matching.streaming import Pairs

Cells = tuple[Tensor, Tensor, Tensor]  # pair, cell0, cell1, each (N,) int64
# Roundings of one log confidence differ by less than this; too large a value only costs work.
PRUNE_SLACK = 0.01
# exp() of anything lower is 0 in float64 too.
LOWEST_LOG = -1000.0


@dataclass(frozen=True)
class CoarseMatches:
    """Matched cells of a batch, sorted by pair, then best first, then by cell of image 0."""

    pair: Tensor  # (N,) int64 number of the pair in the batch
    cell0: Tensor  # (N,) int64 token of image 0
    cell1: Tensor  # (N,) int64 token of image 1
    confidence: Tensor  # (N,) in [0, 1]


def mutual_matches(
    confidence: Tensor,
    allowed0: Tensor | None = None,
    allowed1: Tensor | None = None,
    threshold: float = 0.2,
) -> CoarseMatches:
    """Elements of confidence (B, L, S) above `threshold` that are maxima of their row and column.

    The rule of LoFTR (Sun et al. 2021, sec. 3.3), save that of tied maxima only the first of a row
    or column counts, so that a cell has at most one match. Cells that are not allowed give no match
    but still compete.

    Args:
        confidence: (B, L, S) in [0, 1].
        allowed0: (B, L) or (1, L) bool, cells that may match; None = all.
        allowed1: (B, S) or (1, S).
        threshold: in [0, 1).
    """
    log_floor(threshold)
    cells = mutual_maxima(confidence)
    return collect_matches(cells, confidence[cells], (allowed0, allowed1), threshold)


def mutual_maxima(score: Tensor) -> Cells:
    """Cells of score (B, L, S) that are the first maximum of their row and of their column."""
    if not score.numel():
        empty = torch.zeros(0, dtype=torch.int64, device=score.device)
        return empty, empty, empty
    best1 = score.argmax(2)  # (B, L)
    best0 = score.argmax(1)  # (B, S)
    is_mutual = best0.gather(1, best1) == torch.arange(score.shape[1], device=score.device)
    pair, cell0 = is_mutual.nonzero(as_tuple=True)
    return pair, cell0, best1[pair, cell0]


def collect_matches(
    cells: Cells,
    confidence: Tensor,
    allowed: tuple[Tensor | None, Tensor | None],
    threshold: float,
) -> CoarseMatches:
    """The `cells` that may match with more confidence (N,) than `threshold`, in final order.

    Args:
        cells: by rising pair, then cell of image 0.
        confidence: (N,).
        allowed: (B, L) or (1, L), and (B, S) or (1, S), bool; None = all.
        threshold: in [0, 1).
    """
    pair, cell0, cell1 = cells
    keep = confidence > threshold
    for side, cell in zip(allowed, (cell0, cell1), strict=True):
        if side is not None:
            keep = keep & (side[pair, cell] if len(side) > 1 else side[0, cell])
    pair, cell0, cell1, confidence = (column[keep] for column in (*cells, confidence))
    order = confidence.argsort(descending=True, stable=True)
    order = order[pair[order].argsort(stable=True)]
    return CoarseMatches(pair[order], cell0[order], cell1[order], confidence[order])


def joined(
    found: Sequence[Pairs], numbers: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Cells, Tensor]:
    """Cells and scores of a batch from what was `found` in each pair.

    Args:
        found: one per pair of images; rows and columns count valid tokens only.
        numbers: per pair, the cells (P,) and (Q,) that these tokens are.
    """
    pair = [torch.full_like(one.row, number) for number, one in enumerate(found)]
    cell0 = [cells[one.row] for one, (cells, _) in zip(found, numbers, strict=True)]
    cell1 = [cells[one.column] for one, (_, cells) in zip(found, numbers, strict=True)]
    return (torch.cat(pair), torch.cat(cell0), torch.cat(cell1)), torch.cat(
        [one.score for one in found]
    )


def log_floor(threshold: float) -> float:
    """A log confidence that every match above `threshold` exceeds, whichever way it is rounded.

    Raises:
        ValueError: the threshold is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    return log(threshold) - PRUNE_SLACK if threshold > 0 else LOWEST_LOG
