"""Fine level, forward: a program has one parent, its F queries and the F * K candidates.

Reads each selected parent's F keys and F values as one run of F * D numbers, takes two matrix
products, and keeps scores, softmax and selection in registers. See `reference.fine_forward`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels.candidates import find_candidates, group_softmax
from attention_ops.triton_kernels.launch import (
    OPTIONS,
    fine_warps,
    padded,
    padded_channels,
    padded_parents,
)
from attention_ops.triton_kernels.selection import choose, rank_of
from attention_ops.triton_kernels.tiles import (
    finite,
    load_rows,
    logits,
    product,
    reciprocal,
    store_rows,
)


@triton.jit
def keep_chosen(
    share, rank, token, row, index, score, TOPK: tl.constexpr, TOPKP: tl.constexpr
):  # fmt: skip
    """Writes index and score of the rows (F,); returns which candidates were chosen."""
    chosen, slot, count, _ = choose(rank, TOPK, TOPKP)
    to = row[:, None] * TOPK + slot
    tl.store(index + to, tl.broadcast_to(token[None, :], slot.shape), mask=chosen)
    place = tl.arange(0, TOPKP)[None, :]
    empty = (place >= count[:, None]) & (place < TOPK)
    rest = row[:, None] * TOPK + place
    tl.store(index + rest, tl.full(rest.shape, -1, tl.int32), mask=empty)
    if score is not None:
        tl.store(score + to, share, mask=chosen)
        tl.store(score + rest, tl.zeros(rest.shape, tl.float32), mask=empty)
    return chosen


@triton.jit(do_not_specialize=["scale", "P", "R", "M"])
def fine_forward(
    query, key, value, parent_index, parent_score, key_mask, message, lse, index, score,
    scale, P, R, M,
    K: tl.constexpr, KP: tl.constexpr, F: tl.constexpr, D: tl.constexpr, DP: tl.constexpr,
    TOPK: tl.constexpr, TOPKP: tl.constexpr,
):  # fmt: skip
    """One block of F queries; variant A where parent_score is given."""
    block = tl.program_id(0).to(tl.int64)
    slab = block // P
    slot = tl.arange(0, KP * F)
    token, valid = find_candidates(parent_index, key_mask, block, slab, slot, R, M, K, F)
    f = tl.arange(0, F)
    row = block * F + f
    here = f < F
    slab_start = slab * R * F * D
    keys = load_rows(key + slab_start, token, valid, D, DP)
    s = logits(load_rows(query, row, here, D, DP), keys, scale)
    s = tl.where(valid[None, :], s, float("-inf"))
    largest = finite(tl.max(s, 1))
    part = tl.exp(s - largest[:, None])
    total = tl.sum(part, 1)
    tl.store(lse + row, largest + tl.log(total))
    if parent_score is None:
        share = part * reciprocal(total)[:, None]
        rank = rank_of(s)
    else:
        weight = tl.load(parent_score + block * K + slot // F, mask=valid, other=0.0)
        share = group_softmax(s, F) * weight[None, :]
        rank = rank_of(tl.where(valid[None, :], share, float("-inf")))
    if TOPK > 0:
        chosen = keep_chosen(share, rank, token, row, index, score, TOPK, TOPKP)
        if parent_score is not None:
            share = tl.where(chosen, 0.0, share)
    values = load_rows(value + slab_start, token, valid, D, DP)
    store_rows(message, row, here, product(share, values), D, DP)


def settings(F: int, D: int, K: int, topk: int, element_size: int) -> dict[str, Any]:
    """Compile-time constants and launch options."""
    KP, DP = padded_parents(K, F), padded_channels(D)
    constants = {"K": K, "KP": KP, "F": F, "D": D, "DP": DP, "TOPK": topk, "TOPKP": padded(topk)}
    return constants | {"num_warps": fine_warps(KP * F, DP, element_size), **OPTIONS}


def run(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.fine_forward` for contiguous tensors; topk is at most F * K."""
    B, M, P, F, D = query.shape
    message = torch.empty_like(query)
    lse = query.new_empty(B, M, P, F, dtype=torch.float32)
    index = query.new_empty(B, M, P, F, topk, dtype=torch.int32)
    score = lse.new_empty(0 if parent_score is None else index.shape)
    fine_forward[(B * M * P,)](
        query, key, value, parent_index, parent_score, key_mask, message, lse,
        index, None if parent_score is None else score, scale, P, key.shape[2], M,
        **settings(F, D, parent_index.shape[-1], topk, query.element_size()),
    )  # fmt: skip
    return message, lse, index, score
