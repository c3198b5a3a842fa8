"""Two token sets on their way into coarse matching: checks, precision, scale and masks."""

from math import sqrt

import torch
from torch import Tensor


def scaled_tokens(
    tokens0: Tensor,
    tokens1: Tensor,
    scale: float | Tensor,
    mask0: Tensor | None,
    mask1: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Both sets in float32 or float64, times the root of `scale`, zero where masked.

    Their inner products are the similarities; the root on either side keeps swapping exact.

    Raises:
        ValueError: a shape, a mask or the scale is wrong.
    """
    _check("0", tokens0, mask0)
    _check("1", tokens1, mask1)
    if tokens0.shape[0] != tokens1.shape[0] or tokens0.shape[2] != tokens1.shape[2]:
        raise ValueError(
            "tokens0 (B, L, C) and tokens1 (B, S, C) must agree in B and C, got "
            f"{tuple(tokens0.shape)} and {tuple(tokens1.shape)}"
        )
    if not isinstance(scale, Tensor) and scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    dtype = torch.promote_types(torch.promote_types(tokens0.dtype, tokens1.dtype), torch.float32)
    root = scale.to(dtype).sqrt() if isinstance(scale, Tensor) else sqrt(scale)
    return (
        _zero_masked(tokens0.to(dtype), mask0) * root,
        _zero_masked(tokens1.to(dtype), mask1) * root,
    )


def valid_cells(tokens: Tensor, mask: Tensor | None, pair: int) -> Tensor:
    """Numbers (P,) of the valid tokens of one pair."""
    if mask is None:
        return torch.arange(tokens.shape[1], device=tokens.device)
    return mask[pair].nonzero().squeeze(1)


def valid_tokens(tokens: Tensor, mask: Tensor | None, pair: int) -> Tensor:
    """A copy (P, C) of the valid tokens of one pair of tokens (B, L, C).

    Always a copy: matrix products may round differently when memory is aligned differently.
    """
    return tokens[pair, valid_cells(tokens, mask, pair)]


def _zero_masked(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Masked tokens may hold NaN, which zero gradients would not stop."""
    return tokens if mask is None else tokens.masked_fill(~mask[..., None], 0.0)


def _check(side: str, tokens: Tensor, mask: Tensor | None) -> None:
    letters = "B, L, C" if side == "0" else "B, S, C"
    if tokens.dim() != 3 or not tokens.is_floating_point():
        raise ValueError(
            f"tokens{side} must be ({letters}) floating point, "
            f"got {tuple(tokens.shape)} {tokens.dtype}; flatten a map with map.flatten(2).mT"
        )
    if mask is not None and (mask.shape != tokens.shape[:2] or mask.dtype != torch.bool):
        raise ValueError(
            f"mask{side} must be bool {tuple(tokens.shape[:2])}, True = valid, "
            f"got {tuple(mask.shape)} {mask.dtype}"
        )
