"""The door to the sparse ops: arguments are checked here, a backend does the work."""

from typing import NamedTuple

import torch
from torch import Tensor

from attention_ops import _library, gather_only
from attention_ops._checks import (
    check_choice,
    check_elements,
    check_mask,
    check_same_device,
    check_same_dtype,
    check_shape,
)

VARIANTS = ("A", "B")


class TopKMessage(NamedTuple):
    """What one level of a quadtree gives; `...` is (B, M, L) or (B, M, P, F)."""

    message: Tensor  # (..., D) in the dtype of the query
    index: Tensor  # type: ignore[assignment]  # (..., K) int32 token numbers, ascending by candidate position, -1 = none
    score: Tensor  # (..., K) share of each selected token, variant A only, else (0,)


def coarse_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    topk: int,
    key_mask: Tensor | None = None,
    scale: float | None = None,
    variant: str = "B",
) -> TopKMessage:
    """Attention of every query to every key, and the K best keys of each query.

    The maths stand in `attention_ops.reference`.

    Args:
        query: (B, M, L, D).
        key: (B, M, S, D).
        value: (B, M, S, D).
        topk: tokens to select per query; more than S means S, 0 selects none.
        key_mask: (B, S) bool, True = valid.
        scale: factor of the logits; D ** -0.5 if not given.
        variant: "B", or "A" whose message leaves the selected tokens out.

    Returns:
        message (B, M, L, D), index (B, M, L, K), score (B, M, L, K) for A. Differentiable for
        query, key and value through message and score.
    """
    query, key, value = _autocast(query, key, value)
    check_same_dtype(query=query, key=key, value=value)
    check_choice("variant", variant, VARIANTS)
    sizes = check_shape("query", query, "B M L D")
    sizes = check_shape("key", key, "B M S D", sizes)
    check_shape("value", value, "B M S D", sizes)
    check_mask("key_mask", key_mask, "B S", sizes)
    check_same_device(query=query, key_mask=key_mask)
    _check_topk(topk)
    rows = sizes["B"] * sizes["M"] * sizes["L"]
    check_elements("index", rows * torch.sym_min(topk, sizes["S"]))
    scale = sizes["D"] ** -0.5 if scale is None else scale
    if gather_only.active():
        return TopKMessage(*gather_only.coarse(query, key, value, key_mask, topk, scale, variant))
    message, _, index, score = _library.coarse(query, key, value, key_mask, topk, scale, variant)
    return TopKMessage(message, index, score)


def fine_attention(  # noqa: PLR0913  two options more than coarse_attention
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    *,
    topk: int,
    parent_score: Tensor | None = None,
    key_mask: Tensor | None = None,
    scale: float | None = None,
    variant: str = "B",
) -> TopKMessage:
    """Attention of the F children of a parent to the F children of each of K parents.

    The maths stand in `attention_ops.reference`.

    Args:
        query: (B, M, P, F, D).
        key: (B, M, R, F, D).
        value: (B, M, R, F, D).
        parent_index: (B, M, P, K) int32, numbers in [0, R) that differ within a row; -1 = none.
        topk: tokens to select per query; more than F * K means F * K, 0 selects none.
        parent_score: (B, M, P, K), the score of each parent; needed by variant A.
        key_mask: (B, R, F) bool, True = valid.
        scale: factor of the logits; D ** -0.5 if not given.
        variant: "B" (softmax over all candidates) or "A" (in each parent, times its score).

    Returns:
        message (B, M, P, F, D), index (B, M, P, F, K') with token number = F * parent + child,
        score (B, M, P, F, K') for A. Differentiable for query, key, value and parent_score.
    """
    query, key, value = _autocast(query, key, value)
    check_same_dtype(query=query, key=key, value=value)
    check_choice("variant", variant, VARIANTS)
    sizes = check_shape("query", query, "B M P F D")
    sizes = check_shape("key", key, "B M R F D", sizes)
    check_shape("value", value, "B M R F D", sizes)
    sizes = check_shape("parent_index", parent_index, "B M P K", sizes)
    check_mask("key_mask", key_mask, "B R F", sizes)
    check_same_device(
        query=query, parent_index=parent_index, parent_score=parent_score, key_mask=key_mask
    )
    if parent_index.dtype != torch.int32:
        raise TypeError(f"parent_index must be torch.int32, got {parent_index.dtype}; use .int()")
    if (parent_score is None) == (variant == "A"):
        raise ValueError("parent_score must be given for variant A and only for it")
    if parent_score is not None:
        check_shape("parent_score", parent_score, "B M P K", sizes)
    _check_topk(topk)
    rows = sizes["B"] * sizes["M"] * sizes["P"] * sizes["F"]
    check_elements("index", rows * torch.sym_min(topk, sizes["K"] * sizes["F"]))
    scale = sizes["D"] ** -0.5 if scale is None else scale
    arguments = (query, key, value, parent_index, parent_score, key_mask, topk, scale, variant)
    if gather_only.active():
        return TopKMessage(*gather_only.fine(*arguments))
    message, _, index, score = _library.fine(*arguments)
    return TopKMessage(message, index, score)


def _check_topk(topk: int) -> None:
    if topk < 0:
        raise ValueError(f"topk must be 0 or more, got {topk}")


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast, all in autocast's dtype, as a matrix product would take them."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    wanted = torch.get_autocast_dtype(device)
    return tuple(x if x.dtype == torch.float64 else x.to(wanted) for x in tensors)
