"""Coarse level, backward: a kernel for the gradient of the queries, one for keys and values.

Both compute the shares again from lse, tile after tile, and own what they write: no atomic sums,
the same bits every time. See `reference.coarse_backward`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from attention_ops.triton_kernels import chosen_bits
from attention_ops.triton_kernels.chosen_bits import gradient_of_chosen
from attention_ops.triton_kernels.launch import OPTIONS, coarse_backward_blocks, padded_channels
from attention_ops.triton_kernels.tiles import finite, load_rows, logits, product, store_rows


@triton.jit
def pull_of_chosen(
    queries, key, index, grad_score, row, here, origin, scale,
    D: tl.constexpr, DP: tl.constexpr, TOPK: tl.constexpr,
):  # fmt: skip
    """Sum over the selected of share times the gradient of its score, (BL,)."""
    total = tl.zeros_like(origin)
    for j in range(TOPK):
        token = tl.load(index + row * TOPK + j, mask=here, other=-1)
        there = token >= 0
        keys = load_rows(key, tl.maximum(token, 0), there, D, DP)
        s = tl.sum(queries.to(tl.float32) * keys.to(tl.float32), 1) * scale
        gradient = tl.load(grad_score + row * TOPK + j, mask=there, other=0.0)
        total += tl.where(there, tl.exp(s - origin) * gradient, 0.0)
    return total


@triton.jit(do_not_specialize=["scale", "L", "S", "M", "words"])
def coarse_backward(
    query, key, value, key_mask, message, lse, index, bits, before, grad_message, grad_score,
    grad_query, delta, scale, L, S, M, words,
    D: tl.constexpr, DP: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr, TOPK: tl.constexpr,
):  # fmt: skip
    """Gradient of one block of BL queries, and delta, the sum over all keys of share times the
    gradient of the share; variant A with a selection where bits is given.
    """
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
    grads = load_rows(grad_message, row, here, D, DP)
    messages = load_rows(message, row, here, D, DP)
    origin = finite(tl.load(lse + row, mask=here, other=0.0))
    pull = tl.sum(grads.to(tl.float32) * messages.to(tl.float32), 1)
    if bits is not None:
        pull += pull_of_chosen(
            queries, key, index, grad_score, row, here, origin, scale, D, DP, TOPK
        )
    tl.store(delta + row, pull, mask=here)
    total = tl.zeros([BL, DP], tl.float32)
    for start in range(0, S, BS):
        n = start + tl.arange(0, BS)
        valid = n < S
        if key_mask is not None:
            valid = tl.load(key_mask + n, mask=valid, other=0) != 0
        keys = load_rows(key, n, valid, D, DP)
        s = tl.where(valid[None, :], logits(queries, keys, scale), float("-inf"))
        grad_share = logits(grads, load_rows(value, n, valid, D, DP), 1.0)
        if bits is not None:
            there = here[:, None] & valid[None, :]
            hit, gradient = gradient_of_chosen(
                bits, before, grad_score, row[:, None], n[None, :], there, words, TOPK
            )
            grad_share = tl.where(hit, gradient, grad_share)
        grad_logit = tl.exp(s - origin[:, None]) * (grad_share - pull[:, None])
        total += product(grad_logit, keys)
    store_rows(grad_query, row, here, total * scale, D, DP)


@triton.jit(do_not_specialize=["scale", "L", "S", "M", "words"])
def coarse_backward_by_key(
    query, key, value, key_mask, lse, bits, before, delta, grad_message, grad_score,
    grad_key, grad_value, scale, L, S, M, words,
    D: tl.constexpr, DP: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr, TOPK: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of BS keys and values; arguments as `coarse_backward`."""
    blocks = tl.cdiv(S, BS)
    slab = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BS + tl.arange(0, BS)
    there = n < S
    valid = there
    if key_mask is not None:
        valid = tl.load(key_mask + slab // M * S + n, mask=there, other=0) != 0
    keys = load_rows(key, slab * S + n, valid, D, DP)
    values = load_rows(value, slab * S + n, valid, D, DP)
    of_key = tl.zeros([BS, DP], tl.float32)
    of_value = tl.zeros([BS, DP], tl.float32)
    for start in range(0, L, BL):
        here = start + tl.arange(0, BL) < L
        row = slab * L + start + tl.arange(0, BL)
        queries = load_rows(query, row, here, D, DP)
        grads = load_rows(grad_message, row, here, D, DP)
        origin = finite(tl.load(lse + row, mask=here, other=0.0))
        pull = tl.load(delta + row, mask=here, other=0.0)
        s = tl.where(valid[:, None], logits(keys, queries, scale), float("-inf"))
        share = tl.exp(s - origin[None, :])
        grad_share = logits(values, grads, 1.0)
        if bits is not None:
            read = valid[:, None] & here[None, :]
            hit, gradient = gradient_of_chosen(
                bits, before, grad_score, row[None, :], n[:, None], read, words, TOPK
            )
            grad_share = tl.where(hit, gradient, grad_share)
            of_value += product(tl.where(hit, 0.0, share), grads)
        else:
            of_value += product(share, grads)
        of_key += product(share * (grad_share - pull[None, :]), queries)
    store_rows(grad_key, slab * S + n, there, of_key * scale, D, DP)
    store_rows(grad_value, slab * S + n, there, of_value, D, DP)


def settings(D: int, topk: int, element_size: int) -> dict[str, Any]:
    """Compile-time constants and launch options of the kernel for queries."""
    DP = padded_channels(D)
    blocks = coarse_backward_blocks(DP, element_size)
    constants = {"D": D, "DP": DP, "BL": blocks.queries, "BS": blocks.keys, "TOPK": topk}
    return constants | {"num_warps": blocks.warps, **OPTIONS}


def settings_by_key(D: int, topk: int, element_size: int) -> dict[str, Any]:
    """The same of the kernel for keys: the sides of the tile change places."""
    constants = settings(D, topk, element_size)
    return constants | {"BL": constants["BS"], "BS": constants["BL"]}


def run(
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    message: Tensor,
    lse: Tensor,
    index: Tensor,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.coarse_backward` for contiguous tensors."""
    B, M, L, D = query.shape
    S, topk = key.shape[2], index.shape[-1]
    bits = before = None
    if variant == "A" and topk:
        bits, before = chosen_bits.run(index, S)
    sizes = (scale, L, S, M, triton.cdiv(S, 32))
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    delta = torch.empty_like(lse)
    constants = settings(D, topk, query.element_size())
    coarse_backward[(B * M * triton.cdiv(L, constants["BL"]),)](
        query, key, value, key_mask, message, lse, index, bits, before, grad_message, grad_score,
        grads[0], delta, *sizes, **constants,
    )  # fmt: skip
    constants = settings_by_key(D, topk, query.element_size())
    coarse_backward_by_key[(B * M * triton.cdiv(S, constants["BS"]),)](
        query, key, value, key_mask, lse, bits, before, delta, grad_message, grad_score,
        grads[1], grads[2], *sizes, **constants,
    )  # fmt: skip
    return grads
