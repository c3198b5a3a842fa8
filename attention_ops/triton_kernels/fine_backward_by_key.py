"""Fine level, backward, gradients of key and value without atomic sums: same bits every time.

A program has one parent's F keys and values and walks the list of blocks that selected it. See
`inverse_index` for the list and `fine_backward` for the other gradients.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels.inverse_index import invert
from attention_ops.triton_kernels.launch import DOT_SIDE, OPTIONS, padded_channels
from attention_ops.triton_kernels.tiles import (
    finite,
    load_rows,
    logits,
    product,
    reciprocal,
    store_rows,
)


@triton.jit
def put_chosen_by_key(
    share, grad_share, token, index, grad_score, row, here, TOPK: tl.constexpr
):  # fmt: skip
    """`fine_backward.put_chosen` for tiles (F, Q) with the keys along the first axis."""
    for j in range(TOPK):
        picked = tl.load(index + row * TOPK + j, mask=here, other=-1)
        gradient = tl.load(grad_score + row * TOPK + j, mask=here, other=0.0)
        hit = token[:, None] == picked[None, :]
        share = tl.where(hit, 0.0, share)
        grad_share = tl.where(hit, gradient[None, :], grad_share)
    return share, grad_share


@triton.jit(do_not_specialize=["scale", "R", "M"])
def fine_backward_by_key(
    query, key, value, entry, first, parent_score, key_mask, lse, delta, index,
    grad_message, grad_score, grad_key, grad_value,
    scale, R, M,
    K: tl.constexpr, F: tl.constexpr, E: tl.constexpr, D: tl.constexpr, DP: tl.constexpr,
    TOPK: tl.constexpr,
):  # fmt: skip
    """One parent, E entries of its list at a time; variant A where parent_score is given."""
    parent = tl.program_id(0).to(tl.int64)
    slab = parent // R
    f = tl.arange(0, F)
    here = f < F
    token = ((parent - slab * R) * F + f).to(tl.int32)
    valid = here
    if key_mask is not None:
        valid = tl.load(key_mask + slab // M * R * F + token) != 0
    keys = load_rows(key, parent * F + f, valid, D, DP)
    values = load_rows(value, parent * F + f, valid, D, DP)
    of_key = tl.zeros([F, DP], tl.float32)
    of_value = tl.zeros([F, DP], tl.float32)
    last = tl.load(first + parent + 1)
    i = tl.arange(0, E * F)
    for start in range(tl.load(first + parent), last, E):
        listed = start + i // F < last
        place = tl.load(entry + start + i // F, mask=listed, other=0)
        row = place // K * F + i % F
        queries = load_rows(query, row, listed, D, DP)
        grads = load_rows(grad_message, row, listed, D, DP)
        s = tl.where(valid[:, None], logits(keys, queries, scale), float("-inf"))
        grad_share = logits(values, grads, 1.0)
        if parent_score is None:
            origin = finite(tl.load(lse + row, mask=listed, other=0.0))
            pull = tl.load(delta + row, mask=listed, other=0.0)
            share = tl.exp(s - origin[None, :])
            grad_logit = share * (grad_share - pull[None, :])
        else:
            weight = tl.load(parent_score + place, mask=listed, other=0.0)[None, :]
            part = tl.exp(s - finite(tl.max(s, 0))[None, :])
            prob = part * reciprocal(tl.sum(part, 0))[None, :]
            share, grad_share = put_chosen_by_key(
                prob * weight, grad_share, token, index, grad_score, row, listed, TOPK
            )
            kept = prob * grad_share
            grad_logit = weight * (kept - prob * tl.sum(kept, 0)[None, :])
        of_key += product(grad_logit, queries)
        of_value += product(share, grads)
    store_rows(grad_key, parent * F + f, here, of_key * scale, D, DP)
    store_rows(grad_value, parent * F + f, here, of_value, D, DP)


def settings(F: int, D: int, K: int, topk: int) -> dict[str, Any]:
    """Compile-time constants and launch options."""
    constants = {"K": K, "F": F, "E": DOT_SIDE // F, "D": D, "DP": padded_channels(D)}
    return constants | {"TOPK": topk, "num_warps": 1, **OPTIONS}


def run(
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    lse: Tensor,
    delta: Tensor,
    index: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of key and value; delta is what `fine_backward` wrote, for variant B."""
    B, M, R, F, D = key.shape
    entry, first = invert(parent_index, R)
    grad_key, grad_value = torch.empty_like(key), torch.empty_like(value)
    fine_backward_by_key[(B * M * R,)](
        query, key, value, entry, first, parent_score, key_mask, lse, delta, index,
        grad_message, grad_score, grad_key, grad_value, scale, R, M,
        **settings(F, D, parent_index.shape[-1], index.shape[-1]),
    )  # fmt: skip
    return grad_key, grad_value
