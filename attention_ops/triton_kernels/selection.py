"""Exact top-K of a tile that lies in registers: the K-th largest, then an ordered compaction.

Ranks are int32 in the order of the float32 they stand for. Sorting them alone gives the K-th
largest for half the instructions of sorting 64 bits with the candidate below the score; one scan
of two counters packed in an int32 then says who is chosen and where it goes. Counting against a
threshold 32 times would take two to three times the instructions of the sort.
Ties go to the lower candidate.
"""

import triton
import triton.language as tl

NOTHING: tl.constexpr = tl.constexpr(-2139095041)  # the rank of -inf: not a candidate


@triton.jit
def rank_of(x):
    """float32 -> int32 of the same order; zeros of either sign are equal."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def value_of(rank):
    """Undoes `rank_of`."""
    return (rank ^ ((rank >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def kth_largest(rank, K: tl.constexpr, KP: tl.constexpr):
    """The K-th largest of each row, rank (R, N) int32 -> (R,); the smallest for K >= N.

    KP is K padded to a power of two.
    """
    if rank.shape[1] <= K:
        kth = tl.min(rank, 1)
    else:
        top = tl.topk(rank, KP)  # (R, KP), largest first
        if K == KP:
            kth = tl.min(top, 1)
        else:
            kth = tl.sum(tl.where(tl.arange(0, KP)[None, :] == K - 1, top, 0), 1)
    return kth


@triton.jit
def count_through(above, level):
    """Running counts along the rows (R, N) of two disjoint masks, N < 2 ** 15, by one scan."""
    both = tl.cumsum(above.to(tl.int32) + (level.to(tl.int32) << 16), 1)
    return both & 0xFFFF, both >> 16


@triton.jit
def choose(rank, K: tl.constexpr, KP: tl.constexpr):
    """The K largest of each row, the lower candidate first among equals.

    Returns:
        chosen (R, N) bool; slot (R, N), place among the chosen in candidate order; count (R,);
        kth (R,), the rank of the last one chosen.
    """
    kth = kth_largest(rank, K, KP)
    above = rank > tl.maximum(kth, NOTHING)[:, None]
    level = (rank == kth[:, None]) & (rank > NOTHING)
    above_through, level_through = count_through(above, level)
    room = K - tl.sum(above.to(tl.int32), 1)[:, None]
    chosen = above | (level & (level_through <= room))
    slot = above_through + tl.minimum(level_through, room) - 1
    return chosen, slot, tl.sum(chosen.to(tl.int32), 1), kth
