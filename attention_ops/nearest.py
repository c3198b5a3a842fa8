"""K-nearest-neighbour attention: softmax over the K best keys of all; quadratic.

Wang et al.: "KVT: k-NN Attention for Boosting Vision Transformers", ECCV 2022, eq. 4. It is what
a sparse attention with K keys could reach at best: QuadTree attention finds some of these keys.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from attention_ops.functional import fine_attention
from attention_ops.mechanism import Kind, Mechanism, flat_heads
from attention_ops.tile import select

SCORE_ELEMENTS = 1 << 22  # of the tile of scores that is held at a time, 16 MB of float32


def nearest_keys(query: Tensor, key: Tensor, topk: int, key_mask: Tensor | None = None) -> Tensor:
    """The valid keys with the largest inner products; of equal ones the lower number.

    Args:
        query: (B, M, L, D).
        key: (B, M, S, D).
        topk: how many; more than S means S.
        key_mask: (B, S) bool, True = valid.

    Returns:
        (B, M, L, K) int32, ascending numbers in [0, S), -1 where there are too few valid keys.
    """
    index: Tensor = _nearest(query.detach(), key.detach(), topk, key_mask)
    return index


@torch.library.custom_op("quadview::nearest", mutates_args=())
def _nearest(query: Tensor, key: Tensor, topk: int, key_mask: Tensor | None) -> Tensor:
    B, M, L, _ = query.shape
    S = key.shape[2]
    index = torch.empty(B, M, L, min(topk, S), dtype=torch.int32, device=query.device)
    hidden = None if key_mask is None else ~key_mask[:, None, None, :]
    rows = max(1, SCORE_ELEMENTS // (B * M * S))
    for first in range(0, L, rows):
        score = query[:, :, first : first + rows] @ key.mT
        if hidden is not None:
            score = score.masked_fill_(hidden, -torch.inf)
        index[:, :, first : first + rows] = select(score, topk, hidden is None)
    return index


@_nearest.register_fake
def _(query: Tensor, key: Tensor, topk: int, _key_mask: Any) -> Tensor:
    shape = (*query.shape[:3], torch.sym_min(topk, key.shape[2]))
    return query.new_empty(shape, dtype=torch.int32)


@register_flop_formula(torch.ops.quadview.nearest)
def _flops(query: torch.Size, key: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * math.prod(query) * key[2]


class NearestAttention(Mechanism):
    """message[l] = sum over s in top-K(l) of softmax(q[l] . k[s] / sqrt(D)) v[s]; see `Mechanism`.

    The choice is not differentiable; gradients reach the chosen keys and values only.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        topk: K, for every head on its own.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        topk: int = 32,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        if topk < 1:
            raise ValueError(f"topk must be 1 or more, got {topk}")
        self.topk = topk

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,  # noqa: ARG002  part of the contract
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        q, k, v = (flat_heads(x, self.heads).transpose(1, 2) for x in (query, key, value))
        mask = None if source_mask is None else source_mask.flatten(1)
        index = nearest_keys(q, k, self.topk, mask)
        # A key is a parent with one child, itself.
        q, k, v = (x.contiguous().unsqueeze(3) for x in (q, k, v))
        one_mask = None if mask is None else mask[..., None]
        message = fine_attention(q, k, v, index, topk=0, key_mask=one_mask).message
        return message.squeeze(3).transpose(1, 2).reshape(query.shape)
