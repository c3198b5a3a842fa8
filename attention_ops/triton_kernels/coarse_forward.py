"""Coarse level, forward: a program has a block of queries and walks all keys, some times over.

1. Online softmax: lse, the message of variant B, and per column of the tile the largest logit seen.
   The K-th largest of those columns is a bound that at least K candidates reach and few others.
2. A count of the candidates at the bound, for most rows no more than a tile has columns; the others
   halve the interval of ranks until they are, or until it is the K-th largest itself.
3. Those candidates go to a scratch row of a tile's width, where `selection` picks the K exactly.
4. Variant A only: the message without the selected.

Scores are computed anew each time and never written. See `reference.coarse_forward`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels.launch import coarse_blocks, padded, padded_channels
from attention_ops.triton_kernels.selection import (
    NOTHING,
    choose,
    count_through,
    kth_largest,
    rank_of,
    value_of,
)
from attention_ops.triton_kernels.tiles import (
    finite,
    load_rows,
    logits,
    product,
    reciprocal,
    store_rows,
)


@triton.jit
def masked_logits(
    queries, key, key_mask, start, scale, S, D: tl.constexpr, DP: tl.constexpr, BS: tl.constexpr
):  # fmt: skip
    """Logits (BL, BS) of the keys from `start`, -inf where not valid, and which are valid."""
    n = start + tl.arange(0, BS)
    valid = n < S
    if key_mask is not None:
        valid = tl.load(key_mask + n, mask=valid, other=0) != 0
    s = logits(queries, load_rows(key, n, valid, D, DP), scale)
    return tl.where(valid[None, :], s, float("-inf")), n, valid


@triton.jit
def ranks(s, origin, A: tl.constexpr):
    """What the selection compares: logits, or in variant A shares; s (BL, BS), origin (BL,)."""
    if A:
        s = tl.where(s == float("-inf"), s, tl.exp(s - origin[:, None]))
    return rank_of(s)


@triton.jit
def count_at(
    low, middle, queries, key, key_mask, origin, scale, S,
    A: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Candidates of each row whose rank is at least `low` (BL,), and at least `middle` (BL,)."""
    at_low = tl.zeros_like(low)
    at_middle = tl.zeros_like(low)
    for start in range(0, S, BS):
        s, _, _ = masked_logits(queries, key, key_mask, start, scale, S, D, DP, BS)
        rank = ranks(s, origin, A)
        at_low += tl.sum((rank >= low[:, None]).to(tl.int32), 1)
        at_middle += tl.sum((rank >= middle[:, None]).to(tl.int32), 1)
    return at_low, at_middle


@triton.jit
def bound_candidates(
    low, high, queries, key, key_mask, origin, scale, S,
    A: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BS: tl.constexpr, TOPK: tl.constexpr,
):  # fmt: skip
    """Raises `low` until at most BS candidates reach it, but always TOPK of those that there are.

    A row with high <= low is left as it is. Returns low (BL,) and how many candidates of that very
    rank are wanted: fewer than there are only where it is the rank of the last selected.
    """
    beyond = tl.zeros_like(low)  # candidates at `high`
    wanted = tl.full(low.shape, BS, tl.int32)
    is_open = tl.where(S > BS, 1, 0)
    while is_open > 0:
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        at_low, at_middle = count_at(
            low, middle, queries, key, key_mask, origin, scale, S, A, D, DP, BS
        )
        too_many = at_low > BS
        up = too_many & (at_middle >= TOPK)
        down = too_many & (at_middle < TOPK)
        low = tl.where(up, middle, low)
        count = tl.where(up, at_middle, at_low)
        high = tl.where(down, middle, high)
        beyond = tl.where(down, at_middle, beyond)
        too_many = count > BS
        wanted = tl.where(too_many, TOPK - beyond, BS)
        is_open = tl.max((too_many & (low + 1 < high)).to(tl.int32), 0)
    return low, wanted


@triton.jit
def keep_candidates(
    low, wanted, scratch, slot_start, here, queries, key, key_mask, origin, scale, S,
    A: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Writes rank and token of the candidates above `low`, and of the first `wanted` at it.

    scratch holds BS ranks and BS tokens a row, from slot_start (BL,) on. Returns the counts (BL,).
    """
    above_count = tl.zeros_like(low)
    level_count = tl.zeros_like(low)
    for start in range(0, S, BS):
        s, n, _ = masked_logits(queries, key, key_mask, start, scale, S, D, DP, BS)
        rank = ranks(s, origin, A)
        above = rank > low[:, None]
        level = rank == low[:, None]
        above_through, level_through = count_through(above, level)
        above_through += above_count[:, None]
        level_through += level_count[:, None]
        kept = (above | (level & (level_through <= wanted[:, None]))) & here[:, None]
        slot = above_through + tl.minimum(level_through, wanted[:, None]) - 1
        kept = kept & (slot < BS)
        to = scratch + slot_start[:, None] + slot
        tl.store(to, rank, mask=kept)
        tl.store(to + BS, tl.broadcast_to(n[None, :], slot.shape), mask=kept)
        above_count += tl.sum(above.to(tl.int32), 1)
        level_count += tl.sum(level.to(tl.int32), 1)
    return above_count + tl.minimum(level_count, wanted)


@triton.jit
def pick(
    scratch, slot_start, count, row, here, index, score,
    BS: tl.constexpr, TOPK: tl.constexpr, TOPKP: tl.constexpr,
):  # fmt: skip
    """Writes index and score of the rows; returns the rank of the last one selected and the
    token of the last one of that rank, both (BL,).
    """
    place = tl.arange(0, BS)[None, :]
    there = (place < count[:, None]) & here[:, None]
    rank = tl.load(scratch + slot_start[:, None] + place, mask=there, other=NOTHING)
    token = tl.load(scratch + slot_start[:, None] + BS + place, mask=there, other=-1)
    chosen, slot, chosen_count, kth = choose(rank, TOPK, TOPKP)
    to = row[:, None] * TOPK + slot
    tl.store(index + to, token, mask=chosen)
    order = tl.arange(0, TOPKP)[None, :]
    empty = (order >= chosen_count[:, None]) & (order < TOPK) & here[:, None]
    rest = row[:, None] * TOPK + order
    tl.store(index + rest, tl.full(rest.shape, -1, tl.int32), mask=empty)
    if score is not None:
        tl.store(score + to, value_of(rank), mask=chosen)
        tl.store(score + rest, tl.zeros(rest.shape, tl.float32), mask=empty)
    return kth, tl.max(tl.where(chosen & (rank == kth[:, None]), token, -1), 1)


@triton.jit(do_not_specialize=["scale", "L", "S", "M"])
def coarse_forward(
    query, key, value, key_mask, message, lse, index, score, scratch, scale, L, S, M,
    A: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr,
    TOPK: tl.constexpr, TOPKP: tl.constexpr,
):  # fmt: skip
    """One block of BL queries of a slab; variant A with A."""
    blocks = tl.cdiv(L, BL)
    slab = (tl.program_id(0) // blocks).to(tl.int64)
    place = tl.program_id(0) % blocks * BL + tl.arange(0, BL)
    here = place < L
    row = slab * L + place
    key += slab * S * D
    value += slab * S * D
    if key_mask is not None:
        key_mask += slab // M * S
    queries = load_rows(query, row, here, D, DP)
    largest = tl.full([BL], float("-inf"), tl.float32)
    total = tl.zeros([BL], tl.float32)
    gathered = tl.zeros([BL, DP], tl.float32)
    best = tl.full([BL, BS], float("-inf"), tl.float32)
    for start in range(0, S, BS):
        s, n, valid = masked_logits(queries, key, key_mask, start, scale, S, D, DP, BS)
        if TOPK > 0:
            best = tl.maximum(best, s)
        before = largest
        largest = tl.maximum(largest, tl.max(s, 1))
        part = tl.exp(s - finite(largest)[:, None])
        decay = tl.exp(before - finite(largest))
        total = total * decay + tl.sum(part, 1)
        if not A or TOPK == 0:
            values = load_rows(value, n, valid, D, DP)
            gathered = gathered * decay[:, None] + product(part, values)
    gathered *= reciprocal(total)[:, None]
    log_total = finite(largest) + tl.log(total)
    tl.store(lse + row, log_total, mask=here)
    if TOPK > 0:
        origin = finite(log_total)
        low = tl.maximum(kth_largest(ranks(best, origin, A), TOPK, TOPKP), NOTHING + 1)
        high = tl.where(here, tl.max(ranks(best, origin, A), 1) + 1, low)
        low, wanted = bound_candidates(
            low, high, queries, key, key_mask, origin, scale, S, A, D, DP, BS, TOPK
        )
        slot_start = row * (2 * BS)
        count = keep_candidates(
            low, wanted, scratch, slot_start, here, queries, key, key_mask, origin, scale, S,
            A, D, DP, BS,
        )  # fmt: skip
        tl.debug_barrier()  # the scratch is read by other threads than wrote it
        kth, last = pick(scratch, slot_start, count, row, here, index, score, BS, TOPK, TOPKP)
        if A:
            for start in range(0, S, BS):
                s, n, valid = masked_logits(queries, key, key_mask, start, scale, S, D, DP, BS)
                rank = ranks(s, origin, A)
                left_out = (rank == kth[:, None]) & (n[None, :] <= last[:, None])
                left_out = left_out | (rank > kth[:, None])
                share = tl.where(left_out, 0.0, tl.exp(s - origin[:, None]))
                gathered += product(share, load_rows(value, n, valid, D, DP))
    store_rows(message, row, here, gathered, D, DP)


def settings(L: int, D: int, topk: int, slabs: int, element_size: int) -> dict[str, Any]:
    """Compile-time constants and launch options.

    Multiplications and additions are not fused by the compiler: a score must have the same bits
    in every walk over the keys.
    """
    DP = padded_channels(D)
    blocks = coarse_blocks(L, DP, topk, slabs, element_size)
    constants = {"D": D, "DP": DP, "BL": blocks.queries, "BS": blocks.keys}
    constants |= {"TOPK": topk, "TOPKP": padded(topk)}
    return constants | {"num_warps": blocks.warps, "num_stages": 1, "enable_fp_fusion": False}


def run(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.coarse_forward` for contiguous tensors; topk is at most S."""
    B, M, L, D = query.shape
    S = key.shape[2]
    constants = settings(L, D, topk, B * M, query.element_size())
    message = torch.empty_like(query)
    lse = query.new_empty(B, M, L, dtype=torch.float32)
    index = query.new_empty(B, M, L, topk, dtype=torch.int32)
    score = lse.new_empty(index.shape if variant == "A" else 0)
    scratch = index.new_empty(B * M * L if topk else 0, 2 * constants["BS"])
    coarse_forward[(B * M * triton.cdiv(L, constants["BL"]),)](
        query, key, value, key_mask, message, lse, index, score if variant == "A" else None,
        scratch, scale, L, S, M, A=variant == "A", **constants,
    )  # fmt: skip
    return message, lse, index, score
