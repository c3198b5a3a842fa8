"""Entropy-regularised optimal transport along rows, with a dustbin for what the other view hides.

Reads logits of column pairs, gives their assignment. Rows know nothing of each other: a caller that
has not the memory for all passes a few at a time and gets the same numbers.
"""

import torch
from torch import Tensor

ITERATIONS = 10  # of the official STTR
BOUND = 80.0  # exp(-80) is a normal float32 still


def sinkhorn(
    logits: Tensor,
    dustbin: Tensor,
    iterations: int = ITERATIONS,
    left_mask: Tensor | None = None,
    right_mask: Tensor | None = None,
) -> Tensor:
    """Share of each left column that goes to each right column or, last, to the dustbin.

    Sinkhorn's iteration in log space (Cuturi 2013; with a dustbin Sarlin et al. 2020, sec. 3.2; in
    STTR's order Li et al. 2021, sec. 3.3). With z = logits bordered by `dustbin`, m left and n
    right columns, mu = [1, ..., 1, n] / (m + n), nu = [1, ..., 1, m] / (m + n):
    v = log nu - lse_i(z + u), then u = log mu - lse_j(z + v), repeated; the result is
    (m + n) exp(z + u + v). As u comes last, left columns sum to 1 exactly and right ones nearly.

    Masked columns carry no mass and are not counted: padding changes nothing. Their shares are 0.

    Args:
        logits: (R, L, S); minus infinity where a pair is impossible.
        dustbin: () logit of a column that is not visible in the other view, learned.
        iterations: of both updates.
        left_mask: (R, L) bool, True = valid; None = all.
        right_mask: (R, S).

    Returns:
        (R, L + 1, S + 1), float32 at least.

    Raises:
        ValueError: a shape does not fit, or `iterations` is not positive.
    """
    _check(logits, dustbin, iterations, left_mask, right_mask)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    left = _with_dustbin(logits[:, :, 0], left_mask)
    right = _with_dustbin(logits[:, 0], right_mask)
    bordered = _bordered(logits, dustbin)
    if left_mask is not None or right_mask is not None:
        lowest = torch.finfo(logits.dtype).min / 4  # the sum of a few stays finite
        bordered = bordered.masked_fill(~(left[:, :, None] & right[:, None]), lowest)
    log_mu, total = _log_marginal(left, right, logits.dtype)
    log_nu, _ = _log_marginal(right, left, logits.dtype)
    u = torch.zeros_like(log_mu)
    v = torch.zeros_like(log_nu)
    for _ in range(iterations):
        v = (log_nu - (bordered + u[:, :, None]).logsumexp(1)).masked_fill(~right, 0.0)
        u = (log_mu - (bordered + v[:, None]).logsumexp(2)).masked_fill(~left, 0.0)
    return (bordered + u[:, :, None] + v[:, None] + total[:, None, None]).exp()


def sinkhorn_of_bounded(logits: Tensor, dustbin: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """`sinkhorn` for logits whose exponentials fit into a float, several times faster.

    The same updates as products of the matrix exp(z) with vectors (Cuturi 2013, alg. 1): one
    exponential for each pair of columns instead of one for each update. Finite logits and the
    dustbin must lie within `BOUND` of their largest; those far below, as of impossible pairs, get 0.

    Args:
        logits: (R, L, S).
        dustbin: () as in `sinkhorn`.
        iterations: of both updates.

    Returns:
        (R, L + 1, S + 1), float32 at least.

    Raises:
        ValueError: as `sinkhorn`.
    """
    _check(logits, dustbin, iterations, None, None)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    R, L, S = logits.shape
    bordered = _bordered(logits, dustbin)
    kernel = (bordered - bordered.detach().amax((0, 1, 2))).exp()
    mu, nu = logits.new_ones(L + 1, 1), logits.new_ones(1, S + 1)
    mu[-1], nu[:, -1] = S, L
    u = logits.new_ones(R, L + 1, 1)
    v = logits.new_ones(R, 1, S + 1)
    for _ in range(iterations):
        v = nu / (u.mT @ kernel)
        u = mu / (kernel @ v.mT)
    return u * kernel * v


def _bordered(logits: Tensor, dustbin: Tensor) -> Tensor:
    """Logits (R, L, S) with a last row and column of `dustbin`: (R, L + 1, S + 1)."""
    R, L, S = logits.shape
    dustbin = dustbin.to(logits.dtype)
    right = torch.cat([logits, dustbin.expand(R, L, 1)], 2)
    return torch.cat([right, dustbin.expand(R, 1, S + 1)], 1)


def _with_dustbin(like: Tensor, mask: Tensor | None) -> Tensor:
    """Valid columns (R, L), all if `mask` is None, and the dustbin, which always is: (R, L + 1)."""
    valid = torch.ones_like(like, dtype=torch.bool) if mask is None else mask
    return torch.nn.functional.pad(valid, (0, 1), value=True)


def _log_marginal(valid: Tensor, other: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Log masses (R, L + 1) of columns and dustbin, and log(m + n) (R,); last entries: dustbins."""
    tiny = torch.finfo(dtype).tiny  # no mass at all would be log 0
    count, other_count = valid[:, :-1].sum(1), other[:, :-1].sum(1)
    total = (count + other_count).to(dtype).clamp_min(tiny).log()
    bin_mass = other_count.to(dtype).clamp_min(tiny).log()
    mass = torch.cat([bin_mass.new_zeros(valid[:, :-1].shape), bin_mass[:, None]], 1)
    return mass - total[:, None], total


def _check(
    logits: Tensor,
    dustbin: Tensor,
    iterations: int,
    left_mask: Tensor | None,
    right_mask: Tensor | None,
) -> None:
    if logits.dim() != 3 or not logits.shape[1] * logits.shape[2]:
        raise ValueError(f"logits must be (R, L, S) with columns, got {tuple(logits.shape)}")
    if dustbin.dim():
        raise ValueError(f"dustbin must be one number, got {tuple(dustbin.shape)}")
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")
    R, L, S = logits.shape
    for name, mask, shape in (("left_mask", left_mask, (R, L)), ("right_mask", right_mask, (R, S))):
        if mask is not None and (mask.shape != shape or mask.dtype != torch.bool):
            raise ValueError(f"{name} must be bool {shape}, got {mask.dtype} {tuple(mask.shape)}")
