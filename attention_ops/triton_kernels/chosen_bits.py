"""Which tokens a query selected, one bit for each: what the coarse backward of variant A asks.

`index` is ascending, so a selected token's place in it is the number of bits before its own.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels.launch import OPTIONS

ROWS = 16  # of a program
WORDS = 64  # at a time


@triton.jit
def ones(word):
    """Bits set in each int32; the compiler knows the idiom and emits one instruction."""
    x = word.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit(do_not_specialize=["rows", "words"])
def chosen_bits(
    index, bits, before, rows, words, TOPK: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr
):  # fmt: skip
    """For index (rows, TOPK): bits (rows, words), and the number of bits in the words before."""
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    here = row < rows
    for start in range(0, words, BW):
        w = start + tl.arange(0, BW)[None, :]
        word = tl.zeros([BR, BW], tl.int32)
        earlier = tl.zeros([BR, BW], tl.int32)
        for j in range(TOPK):
            token = tl.load(index + row * TOPK + j, mask=here, other=-1)[:, None]
            there = token >= 0
            word |= tl.where(there & (token // 32 == w), 1 << (token & 31), 0)
            earlier += (there & (token // 32 < w)).to(tl.int32)
        to = row[:, None] * words + w
        mask = here[:, None] & (w < words)
        tl.store(bits + to, word, mask=mask)
        tl.store(before + to, earlier, mask=mask)


@triton.jit
def gradient_of_chosen(
    bits, before, grad_score, row, token, there, words, TOPK: tl.constexpr
):  # fmt: skip
    """Whether rows selected tokens, and the gradient of the score if so; 0 where not.

    row, token and there, which says what may be read, broadcast to the tile.
    """
    at = row * words + token // 32
    word = tl.load(bits + at, mask=there, other=0)
    bit = token % 32
    hit = ((word >> bit) & 1) != 0
    slot = tl.load(before + at, mask=there, other=0) + ones(word & ((1 << bit) - 1))
    return hit, tl.load(grad_score + row * TOPK + slot, mask=hit, other=0.0)


def settings(topk: int) -> dict[str, Any]:
    """Compile-time constants and launch options."""
    return {"TOPK": topk, "BR": ROWS, "BW": WORDS, "num_warps": 2, **OPTIONS}


def run(index: Tensor, S: int) -> tuple[Tensor, Tensor]:
    """Bits (rows, W) int32 of the tokens in index (..., K), W = ceil(S / 32), and those before."""
    rows, words = index[..., 0].numel(), triton.cdiv(S, 32)
    bits = index.new_empty(rows, words)
    before = torch.empty_like(bits)
    chosen_bits[(triton.cdiv(rows, ROWS),)](
        index, bits, before, rows, words, **settings(index.shape[-1])
    )
    return bits, before
