"""Dual softmax over all pairs of tokens: the whole confidence matrix, with its gradient.

Made of the same tiles as the streaming matcher, which is why the two agree to the last bit.
"""

from typing import Any

import torch
from torch import Tensor

from matching.streaming import Tile, log_sum_exps, product_tiles, recorded, suited_tile
from matching.token_sets import scaled_tokens, valid_cells, valid_tokens


def log_dual_softmax(
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """Log of the confidence that tokens match (LoFTR, Sun et al. 2021, eq. 2): (B, L, S).

    log p[b, i, j] = 2 sim[b, i, j] - lse_j sim[b, i, :] - lse_i sim[b, :, j] with
    sim = scale * <tokens0[b, i], tokens1[b, j]>; the sums run over valid tokens only. Elements of
    invalid tokens hold the lowest finite number, so that 0 times them is 0. Computed in float32
    (float64 for float64 tokens), under autocast too; differentiable once, for which it keeps one
    matrix, the result.

    Args:
        tokens0: (B, L, C).
        tokens1: (B, S, C).
        scale: positive; a tensor () may be learned.
        mask0: (B, L) bool, True = valid; None = all. Masked tokens may hold anything.
        mask1: (B, S).
        tile: rows and columns worked on at a time, None = what suits the device; it changes rounding
            only.
    """
    with torch.autocast(tokens0.device.type, enabled=False):
        tokens0, tokens1 = scaled_tokens(tokens0, tokens1, scale, mask0, mask1)
        result: Tensor = _LogDualSoftmax.apply(
            tokens0, tokens1, mask0, mask1, suited_tile(tokens0, tile)
        )
    return result


def dual_softmax(
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """Confidence (B, L, S) that tokens match, 0 where one is invalid; see `log_dual_softmax`."""
    return log_dual_softmax(tokens0, tokens1, scale, mask0, mask1, tile).exp()


class _LogDualSoftmax(torch.autograd.Function):
    """Log confidence (B, L, S) of scaled tokens; of the matrices only the result is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens0: Tensor,
        tokens1: Tensor,
        mask0: Tensor | None,
        mask1: Tensor | None,
        tile: Tile,
    ) -> Tensor:
        B, L, _ = tokens0.shape
        S = tokens1.shape[1]
        result = tokens0.new_full((B, L, S), torch.finfo(tokens0.dtype).min)
        row, column = tokens0.new_zeros(B, L), tokens0.new_zeros(B, S)
        for b in range(B):
            cells0, cells1 = valid_cells(tokens0, mask0, b), valid_cells(tokens1, mask1, b)
            if not len(cells0) or not len(cells1):
                continue
            matrix, row[b, cells0], column[b, cells1] = _log_confidence(
                valid_tokens(tokens0, mask0, b), valid_tokens(tokens1, mask1, b), tile
            )
            if mask0 is None and mask1 is None:
                result[b] = matrix
            else:
                result[b, cells0[:, None], cells1] = matrix
        ctx.save_for_backward(tokens0, tokens1, row, column, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens0, tokens1, row, column, result = ctx.saved_tensors
        grad0, grad1 = torch.zeros_like(tokens0), torch.zeros_like(tokens1)
        with torch.no_grad(), torch.autocast(grad.device.type, enabled=False):
            for b in range(len(grad)):
                by_similarity = _grad_similarity(grad[b], result[b], row[b], column[b])
                grad0[b] = by_similarity @ tokens1[b]
                grad1[b] = by_similarity.mT @ tokens0[b]
        return grad0, grad1, None, None, None


def _log_confidence(tokens0: Tensor, tokens1: Tensor, tile: Tile) -> tuple[Tensor, Tensor, Tensor]:
    """Log confidence (L, S) of tokens (L, C) and (S, C), with the normalisers (L,) and (S,)."""
    matrix = tokens0.new_empty(len(tokens0), len(tokens1))
    tiles = recorded(product_tiles(tokens0, tokens1, tile), matrix)
    sums = log_sum_exps(tiles, tokens0, tokens1, tile)
    matrix.mul_(2).sub_(sums.row[:, None]).sub_(sums.column)
    return matrix, sums.row, sums.column


def _grad_similarity(grad: Tensor, score: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Gradient (L, S) by the similarities from that by the log confidence `score` (L, S).

    d log p_ij / d sim_kl = 2 [ij = kl] - [i = k] p_row_kl - [j = l] p_col_kl; the similarity is
    (score + row + column) / 2, so p_row is exp((score + column - row) / 2) and p_col likewise.
    """
    grad = grad.masked_fill(score == torch.finfo(score.dtype).min, 0.0)
    tilt = (column - row[:, None]) / 2
    half = score / 2
    result = 2 * grad
    result -= (half + tilt).exp_() * grad.sum(1, keepdim=True)
    result -= (half - tilt).exp_() * grad.sum(0)
    return result
