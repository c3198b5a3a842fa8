"""Softmax attention over short lists of keys, with a bias on the logits; knows nothing of maps."""

import torch
from torch import Tensor, nn


def biased_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    key_mask: Tensor | None = None,
) -> Tensor:
    """softmax(query . key / sqrt(D) + bias) value, over the valid keys.

    Args:
        query: (B, M, L, D).
        key: (B, M, S, D).
        value: (B, M, S, E); E may differ from D.
        bias: added to the logits, broadcast to (B, M, L, S), or None.
        key_mask: (B, S) bool, True = valid, or None. What lies under it counts nowhere, but must be
            finite: the lists are long in all, and a copy with zeros would double their memory.

    Returns:
        (B, M, L, E), zeros in a batch entry without any valid key.
    """
    if key_mask is None:
        return _attend(query, key, value, bias)
    # Without a valid key every key is let in, so that no row of the softmax is empty.
    some = key_mask.any(1, keepdim=True)  # (B, 1)
    shown = (key_mask | ~some)[:, None, None, :]
    mask = shown if bias is None else bias.masked_fill(~shown, -torch.inf)
    return _attend(query, key, value, mask).masked_fill(~some[:, None, None, :], 0)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    # Fused kernels want values as wide as keys; without one all logits would be held at once.
    missing = key.shape[3] - value.shape[3]
    wide = nn.functional.pad(value, (0, missing)) if missing > 0 else value
    message = nn.functional.scaled_dot_product_attention(query, key, wide, attn_mask=mask)
    return message[..., : value.shape[3]]


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Tokens per head: (B, L, C) -> (B, M, L, D), channel = head * D + d."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """Undoes `split_heads`: (B, M, L, D) -> (B, L, C)."""
    return tokens.transpose(1, 2).flatten(2)
