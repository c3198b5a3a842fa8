"""Loads and products that every kernel of the sparse ops shares.

Channels are padded to DP; rows that are not valid are never read and hold zeros.
"""

import triton
import triton.language as tl

# A float32 product keeps in registers all numbers of a row that it sums over. Where those are more
# than LONG, they go in parts that are products of their own and are added up.
LONG: tl.constexpr = tl.constexpr(64)
PART: tl.constexpr = tl.constexpr(32)
PART_ROWS: tl.constexpr = tl.constexpr(16)  # rows from which parts of the channels help


@triton.jit
def load_rows(tensor, row, valid, D: tl.constexpr, DP: tl.constexpr):
    """Rows `row` (N,) of a tensor (rows, D) -> (N, DP), zeros where not valid."""
    d = tl.arange(0, DP)
    mask = valid[:, None]
    if D != DP:
        mask = mask & (d < D)[None, :]
    return tl.load(tensor + row[:, None] * D + d[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(tensor, row, valid, x, D: tl.constexpr, DP: tl.constexpr):
    """Writes x (N, DP) to the rows `row` (N,) of a tensor (rows, D) where valid."""
    d = tl.arange(0, DP)
    mask = valid[:, None]
    if D != DP:
        mask = mask & (d < D)[None, :]
    to = tensor + row[:, None] * D + d[None, :]
    tl.store(to, x.to(tensor.dtype.element_ty), mask=mask)


@triton.jit
def add_rows(tensor, row, valid, x, D: tl.constexpr, DP: tl.constexpr):
    """Adds x (N, DP) atomically to the rows `row` (N,) of a float32 tensor (rows, D)."""
    d = tl.arange(0, DP)
    mask = valid[:, None]
    if D != DP:
        mask = mask & (d < D)[None, :]
    tl.atomic_add(tensor + row[:, None] * D + d[None, :], x, mask=mask, sem="relaxed")


@triton.jit
def product(a, b):
    """Product of a (R, N), rounded to the dtype of b, and b (N, D); float32 sums, no tf32."""
    R: tl.constexpr = a.shape[0]
    N: tl.constexpr = a.shape[1]
    if N > LONG and b.dtype == tl.float32:
        weights = tl.permute(tl.reshape(a, (R, N // PART, PART)), (1, 0, 2))
        rows = tl.reshape(b, (N // PART, PART, b.shape[1]))
        total = tl.sum(tl.dot(weights, rows, input_precision="ieee"), 0)
    else:
        total = tl.dot(a.to(b.dtype), b, input_precision="ieee")
    return total


@triton.jit
def logits(query, key, scale):
    """Products (R, N) float32 of query (R, DP) with key (N, DP), times scale."""
    R: tl.constexpr = query.shape[0]
    N: tl.constexpr = key.shape[0]
    DP: tl.constexpr = query.shape[1]
    if DP > LONG and R >= PART_ROWS and query.dtype == tl.float32:
        queries = tl.permute(tl.reshape(query, (R, DP // PART, PART)), (1, 0, 2))
        keys = tl.permute(tl.reshape(key, (N, DP // PART, PART)), (1, 2, 0))
        s = tl.sum(tl.dot(queries, keys, input_precision="ieee"), 0)
    else:
        s = tl.dot(query, tl.trans(key), input_precision="ieee")
    return s * scale


@triton.jit
def finite(x):
    """-inf replaced by 0: what to subtract from a row without valid candidates."""
    return tl.where(x == float("-inf"), 0.0, x)


@triton.jit
def reciprocal(total):
    """1 / total, and 1 for the total 0 of a row without valid candidates."""
    return 1.0 / tl.where(total == 0.0, 1.0, total)
