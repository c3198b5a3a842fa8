"""Coarse matching: the cells of two images whose tokens choose each other under dual softmax.

`match_streaming` finds them in tiles, `match_dense` by way of the whole matrix. Reads tokens,
returns `CoarseMatches`; knows nothing of images or files.
"""

import torch
from torch import Tensor

from matching.dual_softmax import dual_softmax, log_dual_softmax
from matching.mutual import (
    PRUNE_SLACK,
    CoarseMatches,
    collect_matches,
    joined,
    log_floor,
    mutual_matches,
    mutual_maxima,
)
from matching.streaming import (
    Pairs,
    Tile,
    best_pairs,
    log_sum_exps,
    product_tiles,
    suited_tile,
)
from matching.token_sets import scaled_tokens, valid_cells, valid_tokens

__all__ = [
    "CoarseMatches",
    "border_allowed",
    "dual_softmax",
    "log_dual_softmax",
    "match_dense",
    "match_streaming",
    "mutual_matches",
]


@torch.no_grad()
def match_dense(  # noqa: PLR0913 - everything comes twice
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
    allowed0: Tensor | None = None,
    allowed1: Tensor | None = None,
    threshold: float = 0.2,
    tile: Tile | None = None,
) -> CoarseMatches:
    """What `match_streaming` finds, by way of the whole confidence matrix: its specification."""
    floor = log_floor(threshold)
    score = log_dual_softmax(tokens0, tokens1, scale, mask0, mask1, tile)
    pair, cell0, cell1 = mutual_maxima(score)
    high = score[pair, cell0, cell1] > floor
    cells = pair[high], cell0[high], cell1[high]
    return collect_matches(cells, score[cells].exp(), (allowed0, allowed1), threshold)


@torch.no_grad()
def match_streaming(  # noqa: PLR0913 - everything comes twice
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
    allowed0: Tensor | None = None,
    allowed1: Tensor | None = None,
    threshold: float = 0.2,
    tile: Tile | None = None,
) -> CoarseMatches:
    """Mutual best cells under dual softmax, without the (L, S) matrix.

    Two passes over tiles. The first gives the log-sum-exp of every row and column. Confidence is
    p_row * p_col <= p_row, so the second visits a row of a column tile only if the largest p_row
    there exceeds the threshold: about one tile per row, unless the threshold is near 0.

    In float64 matches and confidences equal those of `match_dense` with the same `tile` bit for
    bit: both do the same tensor operations on the same tiles in the same order. In float32 the
    second pass multiplies fewer rows at a time, so the last bit of a confidence may differ, and with
    it the choice between cells that tie to that bit. Another `tile` changes rounding likewise.

    Args:
        tokens0: (B, L, C) float32, float64, or a half type, which is computed in float32.
        tokens1: (B, S, C).
        scale: positive factor that turns inner products into similarities.
        mask0: (B, L) bool, True = valid; None = all. Masked tokens may hold anything.
        mask1: (B, S).
        allowed0: (B, L) or (1, L) bool, cells that may match; None = all. The others still compete.
        allowed1: (B, S) or (1, S).
        threshold: in [0, 1); matches have more confidence.
        tile: rows and columns of the similarity matrix worked on at a time; None = what suits the device.
    """
    floor = log_floor(threshold)
    tile = suited_tile(tokens0, tile)
    with torch.autocast(tokens0.device.type, enabled=False):
        tokens0, tokens1 = scaled_tokens(tokens0, tokens1, scale, mask0, mask1)
        pairs = range(len(tokens0))
        found = [
            _stream_pair(
                valid_tokens(tokens0, mask0, b), valid_tokens(tokens1, mask1, b), floor, tile
            )
            for b in pairs
        ]
    numbers = [(valid_cells(tokens0, mask0, b), valid_cells(tokens1, mask1, b)) for b in pairs]
    cells, score = joined(found, numbers)
    return collect_matches(cells, score.exp(), (allowed0, allowed1), threshold)


def border_allowed(
    grid: Tensor | tuple[int, int], border: int, device: torch.device | str | None = None
) -> Tensor:
    """Row-major cells (B, H*W) bool that are valid and not within `border` cells of the edge.

    The edge is that of the smallest rectangle that holds all valid cells: for an image padded at
    the bottom right, the extents of the official `border_rm`.

    Args:
        grid: mask (B, H, W) bool, True = valid, or the size (H, W) of a grid without padding,
            which gives (1, H*W).
        border: cells removed on each side.
        device: of the result for a size.
    """
    mask = grid if isinstance(grid, Tensor) else torch.ones(1, *grid, device=device).bool()
    rows = _well_inside(mask.any(2), border)  # (B, H)
    columns = _well_inside(mask.any(1), border)  # (B, W)
    return (mask & rows[:, :, None] & columns[:, None]).flatten(1)


def _well_inside(occupied: Tensor, border: int) -> Tensor:
    """Places of occupied (B, P) at least `border` after its first True and before its last."""
    seen = occupied.int()
    from_first = seen.cummax(1).values.cumsum(1)
    from_last = seen.flip(1).cummax(1).values.cumsum(1).flip(1)
    return (from_first > border) & (from_last > border)


def _stream_pair(tokens0: Tensor, tokens1: Tensor, floor: float, tile: Tile) -> Pairs:
    """Mutual best of tokens0 (L, C) and tokens1 (S, C) with a log confidence above `floor`."""
    sums = log_sum_exps(product_tiles(tokens0, tokens1, tile), tokens0, tokens1, tile)
    alive = sums.tile_max - sums.row[:, None] > floor - PRUNE_SLACK
    pairs = best_pairs(tokens0, tokens1, 2.0, (sums.row, sums.column), alive, tile)
    high = pairs.score > floor
    return Pairs(pairs.row[high], pairs.column[high], pairs.score[high])
