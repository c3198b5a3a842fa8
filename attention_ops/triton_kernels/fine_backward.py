"""Fine level, backward: a program has one parent and walks its candidates a few at a time.

The shares are computed again from the saved lse (variant B) or from the group (variant A). The
gradients of query and parent score stay in the program; those of key and value are added to
float32 tensors atomically, or left to `fine_backward_by_key` where the order of sums must not
vary. See `reference.fine_backward`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels import fine_backward_by_key
from attention_ops.triton_kernels.candidates import find_candidates, group_softmax, group_sum
from attention_ops.triton_kernels.launch import (
    DOT_SIDE,
    OPTIONS,
    fine_warps,
    padded_channels,
    padded_parents,
)
from attention_ops.triton_kernels.tiles import (
    add_rows,
    finite,
    load_rows,
    logits,
    product,
    store_rows,
)

CANDIDATES = 32  # that a program holds at a time


@triton.jit
def put_chosen(
    share, grad_share, token, index, grad_score, row, here, TOPK: tl.constexpr
):  # fmt: skip
    """Where a candidate was chosen: share 0, for its message was left out, and the gradient that
    its score got. share (Q, C), token (C,), row and here (Q,).
    """
    for j in range(TOPK):
        picked = tl.load(index + row * TOPK + j, mask=here, other=-1)
        gradient = tl.load(grad_score + row * TOPK + j, mask=here, other=0.0)
        hit = token[None, :] == picked[:, None]
        share = tl.where(hit, 0.0, share)
        grad_share = tl.where(hit, gradient[:, None], grad_share)
    return share, grad_share


@triton.jit
def outer(weight, rows, F: tl.constexpr):
    """Weight (Q, C) transposed times rows (Q, DP) -> (C, DP).

    On tensor cores where the queries are padded to 16; else a sum of F outer products.
    """
    Q: tl.constexpr = rows.shape[0]
    if Q > F:
        total = product(tl.trans(weight), rows)
    else:
        total = tl.zeros([weight.shape[1], rows.shape[1]], tl.float32)
        for f in tl.static_range(F):
            mine = (tl.arange(0, Q) == f)[:, None]
            column = tl.sum(tl.where(mine, weight, 0.0), 0)
            total += column[:, None] * tl.sum(tl.where(mine, rows, 0.0), 0)[None, :]
    return total


@triton.jit(do_not_specialize=["scale", "P", "R", "M"])
def fine_backward(
    query, key, value, parent_index, parent_score, key_mask, message, lse, index,
    grad_message, grad_score, grad_query, grad_key_sum, grad_value_sum, grad_parent_score, delta,
    scale, P, R, M,
    K: tl.constexpr, F: tl.constexpr, Q: tl.constexpr, C: tl.constexpr,
    D: tl.constexpr, DP: tl.constexpr, TOPK: tl.constexpr,
):  # fmt: skip
    """One block of F queries, padded to Q; variant A where parent_score is given.

    Writes delta, the sum of message * grad_message of each row, for variant B without sums.
    """
    block = tl.program_id(0).to(tl.int64)
    slab = block // P
    f = tl.arange(0, Q)
    here = f < F
    row = block * F + f
    slab_start = slab * R * F * D
    queries = load_rows(query, row, here, D, DP)
    grads = load_rows(grad_message, row, here, D, DP)
    if parent_score is None:
        messages = load_rows(message, row, here, D, DP)
        pull = tl.sum(grads.to(tl.float32) * messages.to(tl.float32), 1)
        origin = finite(tl.load(lse + row, mask=here, other=0.0))
        if delta is not None:
            tl.store(delta + row, pull, mask=here)
    total = tl.zeros([Q, DP], tl.float32)
    for start in range(0, K * F, C):
        slot = start + tl.arange(0, C)
        token, valid = find_candidates(parent_index, key_mask, block, slab, slot, R, M, K, F)
        keys = load_rows(key + slab_start, token, valid, D, DP)
        values = load_rows(value + slab_start, token, valid, D, DP)
        s = tl.where(valid[None, :], logits(queries, keys, scale), float("-inf"))
        grad_share = logits(grads, values, 1.0)
        if parent_score is None:
            share = tl.exp(s - origin[:, None])
            grad_logit = share * (grad_share - pull[:, None])
        else:
            weight = tl.load(parent_score + block * K + slot // F, mask=valid, other=0.0)
            prob = group_softmax(s, F)
            share = prob * weight[None, :]
            share, grad_share = put_chosen(
                share, grad_share, token, index, grad_score, row, here, TOPK
            )
            kept = prob * grad_share
            grad_logit = weight[None, :] * (kept - prob * group_sum(kept, F))
            of_weight = tl.sum(tl.reshape(tl.sum(kept, 0), (C // F, F)), 1)
            k = start // F + tl.arange(0, C // F)
            tl.store(grad_parent_score + block * K + k, of_weight, mask=k < K)
        total += product(grad_logit, keys)
        if grad_key_sum is not None:
            of_key = outer(grad_logit, queries, F) * scale
            add_rows(grad_key_sum + slab_start, token, valid, of_key, D, DP)
            add_rows(grad_value_sum + slab_start, token, valid, outer(share, grads, F), D, DP)
    store_rows(grad_query, row, here, total * scale, D, DP)


def settings(F: int, D: int, K: int, topk: int, element_size: int) -> dict[str, Any]:
    """Compile-time constants and launch options."""
    Q = F if element_size == 4 else DOT_SIDE
    C = min(CANDIDATES, padded_parents(K, F) * F)
    DP = padded_channels(D)
    constants = {"K": K, "F": F, "Q": Q, "C": C, "D": D, "DP": DP, "TOPK": topk}
    return constants | {"num_warps": fine_warps(2 * C, DP, element_size), **OPTIONS}


def run(
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    message: Tensor,
    lse: Tensor,
    index: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.fine_backward` for contiguous tensors; grad_parent_score is float32."""
    B, M, P, F, D = query.shape
    in_lists = torch.are_deterministic_algorithms_enabled()
    grad_query = torch.empty_like(query)
    grad_key = lse.new_zeros(0 if in_lists else key.shape)
    grad_value = torch.zeros_like(grad_key)
    grad_weight = lse.new_empty(0 if parent_score is None else parent_index.shape)
    delta = torch.empty_like(lse)
    fine_backward[(B * M * P,)](
        query, key, value, parent_index, parent_score, key_mask, message, lse, index,
        grad_message, grad_score, grad_query,
        None if in_lists else grad_key, None if in_lists else grad_value,
        None if parent_score is None else grad_weight,
        delta if in_lists and parent_score is None else None,
        scale, P, key.shape[2], M,
        **settings(F, D, parent_index.shape[-1], index.shape[-1], query.element_size()),
    )  # fmt: skip
    if in_lists:
        grad_key, grad_value = fine_backward_by_key.run(
            grad_message, grad_score, query, key, value, parent_index, parent_score, key_mask,
            lse, delta, index, scale,
        )  # fmt: skip
    return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), grad_weight
