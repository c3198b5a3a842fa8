"""The candidates of a block of queries of the fine level, and the softmax of variant A."""

import triton
import triton.language as tl

from attention_ops.triton_kernels.tiles import finite, reciprocal


@triton.jit
def find_candidates(
    parent_index, key_mask, block, slab, slot, R, M, K: tl.constexpr, F: tl.constexpr,
):  # fmt: skip
    """Tokens of the candidates (C,) of a block of queries, and which of them are valid.

    slot (C,) is the candidate's position, k-major and child-minor, from 0.
    """
    k = slot // F
    parent = tl.load(parent_index + block * K + k, mask=k < K, other=-1)
    valid = parent >= 0
    token = tl.maximum(parent, 0) * F + slot % F
    if key_mask is not None:
        image = slab // M
        shown = tl.load(key_mask + image * R * F + token, mask=valid, other=0)
        valid = valid & (shown != 0)
    return token, valid


@triton.jit
def group_softmax(s, F: tl.constexpr):
    """Softmax of s (Q, C) in each group of F candidates; zeros in a group of -inf."""
    Q: tl.constexpr = s.shape[0]
    C: tl.constexpr = s.shape[1]
    grouped = tl.reshape(s, (Q, C // F, F))
    part = tl.exp(grouped - finite(tl.max(grouped, 2))[:, :, None])
    return tl.reshape(part * reciprocal(tl.sum(part, 2))[:, :, None], (Q, C))


@triton.jit
def group_sum(x, F: tl.constexpr):
    """Sum of x (Q, C) over each group of F candidates, at each of them."""
    Q: tl.constexpr = x.shape[0]
    C: tl.constexpr = x.shape[1]
    total = tl.sum(tl.reshape(x, (Q, C // F, F)), 2)
    return tl.reshape(tl.broadcast_to(total[:, :, None], (Q, C // F, F)), (Q, C))
