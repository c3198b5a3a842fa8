"""Optimal-transport matching: log-space Sinkhorn with a dustbin, whole or in strips of rows.

The alternative to dual softmax in LoFTR (Sun et al. 2021, eq. 1), after SuperGlue (Sarlin et al.
2020, sec. 3.2). Reads tokens, returns `CoarseMatches`.
"""

from math import log

import torch
from torch import Tensor

from matching.mutual import PRUNE_SLACK, CoarseMatches, collect_matches, joined, log_floor
from matching.streaming import Pairs, Sums, Tile, best_pairs, row_sums, suited_tile, tile_slices
from matching.token_sets import scaled_tokens, valid_cells, valid_tokens

ITERATIONS = 3  # of the official LoFTR


def log_optimal_transport(
    similarity: Tensor,
    dustbin: Tensor,
    iterations: int = ITERATIONS,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
) -> Tensor:
    """Log of the transport plan with a dustbin row and column, (B, L + 1, S + 1).

    With z = similarity bordered by `dustbin`, marginals mu = [1, ..., 1, n] / (m + n) and
    nu = [1, ..., 1, m] / (m + n) for m rows and n columns: u = log mu - lse_j(z + v), then
    v = log nu - lse_i(z + u), repeated; the result is z + u + v + log(m + n). Exponentials of
    result[:, :-1, :-1] are confidences.

    Masked rows and columns carry no mass and are not counted in m and n, so that padding changes
    nothing (the official code lets their mass go to the dustbin); they hold about the lowest number.

    Args:
        similarity: (B, L, S).
        dustbin: () similarity of leaving a token unmatched, learned.
        iterations: of both updates.
        mask0: (B, L) bool, True = valid; None = all.
        mask1: (B, S).
    """
    B, L, S = similarity.shape
    real0 = similarity.new_ones(B, L).bool() if mask0 is None else mask0
    real1 = similarity.new_ones(B, S).bool() if mask1 is None else mask1
    lowest = torch.finfo(similarity.dtype).min / 4  # the sum of a few stays finite
    log_mu, total = _log_marginal(real0, real1, similarity)
    log_nu, _ = _log_marginal(real1, real0, similarity)
    bordered = dustbin.to(similarity.dtype).expand(B, L + 1, S + 1)
    bordered = torch.cat([torch.cat([similarity, bordered[:, :L, :1]], 2), bordered[:, :1]], 1)
    real = _with_dustbin(real0)[:, :, None] & _with_dustbin(real1)[:, None]
    bordered = bordered.masked_fill(~real, lowest)
    u, v = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
    for _ in range(iterations):
        u = (log_mu - (bordered + v[:, None]).logsumexp(2)).masked_fill(~_with_dustbin(real0), 0.0)
        v = (log_nu - (bordered + u[:, :, None]).logsumexp(1)).masked_fill(
            ~_with_dustbin(real1), 0.0
        )
    return bordered + u[:, :, None] + v[:, None] + total[:, None, None]


def log_transport(
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    dustbin: Tensor,
    iterations: int = ITERATIONS,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
) -> Tensor:
    """Log confidence (B, L, S) of tokens by optimal transport; the twin of `log_dual_softmax`."""
    with torch.autocast(tokens0.device.type, enabled=False):
        tokens0, tokens1 = scaled_tokens(tokens0, tokens1, scale, mask0, mask1)
        plan = log_optimal_transport(tokens0 @ tokens1.mT, dustbin, iterations, mask0, mask1)
    return plan[:, :-1, :-1]


@torch.no_grad()
def match_sinkhorn(  # noqa: PLR0913 - everything comes twice
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    dustbin: Tensor,
    mask0: Tensor | None = None,
    mask1: Tensor | None = None,
    allowed0: Tensor | None = None,
    allowed1: Tensor | None = None,
    threshold: float = 0.2,
    iterations: int = ITERATIONS,
    tile: Tile | None = None,
) -> CoarseMatches:
    """Mutual best cells of the transport plan, without the (L, S) matrix.

    One pass over strips of rows per iteration, since the new u of a row needs that row only, then
    one over what can still exceed the threshold. Equals the whole plan but for rounding.

    Args:
        tokens0: (B, L, C).
        tokens1: (B, S, C).
        scale: positive factor that turns inner products into similarities.
        dustbin: () as in `log_optimal_transport`.
        mask0: (B, L) bool, True = valid; None = all. Masked tokens may hold anything.
        mask1: (B, S).
        allowed0: (B, L) or (1, L) bool, cells that may match; None = all. The others still compete.
        allowed1: (B, S) or (1, S).
        threshold: in [0, 1); matches have more confidence.
        iterations: of Sinkhorn.
        tile: strips have as many elements as a tile of this many rows and columns; None = what suits
            the device.
    """
    floor = log_floor(threshold)
    tile = suited_tile(tokens0, tile)
    with torch.autocast(tokens0.device.type, enabled=False):
        tokens0, tokens1 = scaled_tokens(tokens0, tokens1, scale, mask0, mask1)
        dustbin = dustbin.to(tokens0)
        pairs = range(len(tokens0))
        found = []
        for b in pairs:
            valid0, valid1 = valid_tokens(tokens0, mask0, b), valid_tokens(tokens1, mask1, b)
            found.append(_transport_pair(valid0, valid1, dustbin, floor, iterations, tile))
    numbers = [(valid_cells(tokens0, mask0, b), valid_cells(tokens1, mask1, b)) for b in pairs]
    cells, score = joined(found, numbers)
    return collect_matches(cells, score.exp(), (allowed0, allowed1), threshold)


def _transport_pair(
    tokens0: Tensor, tokens1: Tensor, dustbin: Tensor, floor: float, iterations: int, tile: Tile
) -> Pairs:
    """Mutual best of tokens0 (L, C) and tokens1 (S, C) with a log confidence above `floor`."""
    L, S = len(tokens0), len(tokens1)
    if not L or not S:
        none = torch.zeros(0, dtype=torch.int64, device=tokens0.device)
        return Pairs(none, none, tokens0.new_zeros(0))
    u, v = tokens0.new_zeros(L + 1), tokens0.new_zeros(S + 1)
    tile_max = tokens0.new_full((L, len(tile_slices(S, tile[1]))), torch.inf)
    for _ in range(iterations):
        u, v, tile_max = _iterate(tokens0, tokens1, dustbin, v, tile)
    gain0, gain1 = u[:L], v[:S] + log(L + S)
    best_gain = torch.stack([part.amax() for part in gain1.split(tile[1])])
    alive = tile_max + gain0[:, None] + best_gain > floor - PRUNE_SLACK
    pairs = best_pairs(tokens0, tokens1, 1.0, (-gain0, -gain1), alive, tile)
    high = pairs.score > floor
    return Pairs(pairs.row[high], pairs.column[high], pairs.score[high])


def _iterate(
    tokens0: Tensor, tokens1: Tensor, dustbin: Tensor, v: Tensor, tile: Tile
) -> tuple[Tensor, Tensor, Tensor]:
    """One Sinkhorn iteration from v (S + 1,).

    Returns u (L + 1,), the new v, and the largest similarity (L, P) of each row in each column tile.
    """
    L, S = len(tokens0), len(tokens1)
    norm = -log(L + S)
    u = tokens0.new_empty(L + 1)
    u[L] = log(S) + norm - (dustbin + v).logsumexp(0)
    column = Sums((dustbin + u[L]).repeat(S), torch.ones_like(v[:S]))
    tile_max = tokens0.new_empty(L, len(tile_slices(S, tile[1])))
    for rows in tile_slices(L, max(1, tile[0] * tile[1] // S)):
        strip = tokens0[rows] @ tokens1.mT  # (R, S)
        tile_max[rows] = torch.stack([part.amax(1) for part in strip.split(tile[1], 1)], 1)
        plan = strip + v[:S]
        row_lse = row_sums(plan, plan.amax(1)).log()
        u[rows] = norm - torch.logaddexp(row_lse, dustbin + v[S])
        strip += u[rows, None]
        column.add(slice(0, S), row_sums(strip.mT, strip.amax(0)))
    log_nu_bin = log(L) + norm
    v = torch.cat([norm - column.log(), (log_nu_bin - (dustbin + u).logsumexp(0))[None]])
    return u, v, tile_max


def _log_marginal(real: Tensor, other: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Log masses (B, L + 1) of tokens real (B, L) and their dustbin, and log(m + n) (B,)."""
    tiny = torch.finfo(like.dtype).tiny  # no mass at all would be log 0
    total = (real.sum(1) + other.sum(1)).to(like.dtype).clamp_min(tiny).log()
    bin_mass = other.sum(1, keepdim=True).to(like.dtype).clamp_min(tiny).log()
    mass = torch.cat([like.new_zeros(real.shape), bin_mass], 1)
    return mass - total[:, None], total


def _with_dustbin(real: Tensor) -> Tensor:
    """Valid tokens (B, L), followed by the dustbin, which always is: (B, L + 1)."""
    return torch.cat([real, real.new_ones(len(real), 1)], 1)
