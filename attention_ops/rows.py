"""Attention along the rows of two maps, as along the epipolar lines of a rectified pair.

Every row is a line of its own: full softmax (Li et al. 2021, STTR, but with rotary encoding), linear, or
QuadTree attention on a 1-D tree (Tang et al. 2022, whose stereo half was never released). Positions are
relative: queries and keys are rotated by their column (Su et al. 2021, eq. 34), pooled tokens by the
column of their middle, so that a logit of any level depends on the true distance of the two cells.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.functional import VARIANTS
from attention_ops.linear import linear_attention
from attention_ops.mechanism import Kind, Mechanism, check_rows
from attention_ops.pyramid import (
    line_to_tokens,
    mask_pyramid,
    pad_to_multiple,
    token_pyramid,
    tokens_to_line,
)
from attention_ops.quadtree import Level, add_level, descend
from attention_ops.softmax import softmax_attention

LONGEST_WAVE = 1024.0  # cells; the shortest wave is 2 pi


def rotated(tokens: Tensor, stride: int = 1) -> Tensor:
    """Tokens (..., L, D) with channel pairs (d, d + D / 2) turned by an angle that grows along L.

    Token i stands for cells i * stride .. i * stride + stride - 1 and is turned by the column of
    their middle, so inner products depend on the difference of two columns only.
    """
    L, half = tokens.shape[-2], tokens.shape[-1] // 2
    wide = torch.promote_types(tokens.dtype, torch.float32)
    column = torch.arange(L, device=tokens.device, dtype=wide) * stride + (stride - 1) / 2
    share = torch.arange(half, device=tokens.device, dtype=wide) / half
    angle = column[:, None] * torch.exp(-math.log(LONGEST_WAVE / (2 * math.pi)) * share)
    cos, sin = angle.cos().to(tokens.dtype), angle.sin().to(tokens.dtype)
    turned = torch.cat((tokens[..., half:], tokens[..., :half]), -1)
    return torch.addcmul(tokens * torch.cat((cos, cos), -1), turned, torch.cat((-sin, sin), -1))


class RowMechanism(Mechanism):
    """Attention inside equal rows of two maps of the same height; see `Mechanism`.

    Channels per head must be even.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        if channels // heads % 2:
            raise ValueError(
                f"channels per head must be even to be rotated, got {channels} / {heads}"
            )

    def forward(
        self,
        query_map: Tensor,
        source_map: Tensor,
        query_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """See `Mechanism.forward`; both maps must have the same number of rows."""
        check_rows(query_map, source_map)
        return super().forward(query_map, source_map, query_mask, source_mask)


class RowSoftmax(RowMechanism):
    """Every cell attends to its whole row: O(W * Ws) a row."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,  # noqa: ARG002  part of the contract
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        q, k, v = (line_to_tokens(cells, self.heads) for cells in (query, key, value))
        lines = (rotated(q).transpose(1, 2), rotated(k).transpose(1, 2), v.transpose(1, 2))
        key_mask = None if source_mask is None else source_mask.flatten(0, 1)
        message = softmax_attention(*lines, key_mask)
        return message.reshape(query.shape)


class RowLinear(RowMechanism):
    """Linear attention along rows; it has no logits to rotate and knows no positions."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,  # noqa: ARG002  part of the contract
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        heads = (self.heads, -1)
        q, k, v = (cells.flatten(0, 1).unflatten(2, heads) for cells in (query, key, value))
        key_mask = None if source_mask is None else source_mask.flatten(0, 1)
        return linear_attention(q, k, v, key_mask).reshape(query.shape)


class RowQuadtree(RowMechanism):
    """QuadTree attention on the 1-D tree of each row: O(W * topk) below the coarsest level.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        topk: tokens to select per level, coarsest first; its length is the number of levels.
        fan_out: children of a token, 2 or 4.
        variant: "A" or "B", as in `QuadtreeAttention`.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(  # noqa: PLR0913  its settings, each with a default
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        topk: Sequence[int] = (6, 6, 6),
        fan_out: int = 2,
        variant: str = "B",
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        check_choice("variant", variant, VARIANTS)
        if fan_out not in (2, 4):
            raise ValueError(f"fan_out must be 2 or 4, got {fan_out}")
        if not topk or min(topk) < 1:
            raise ValueError(f"topk must be one positive number per level, got {tuple(topk)}")
        self.topk = tuple(topk)
        self.fan_out = fan_out
        self.variant = variant
        self.level_weight: nn.Parameter | None = None
        if variant == "B":
            self.level_weight = nn.Parameter(torch.zeros(len(self.topk)))  # before the softmax

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        H, W = query.shape[1:3]
        weight = None if self.level_weight is None else self.level_weight.softmax(0)
        total: Tensor | None = None
        levels = self._levels(query, key, value, query_mask, source_mask)
        for i, result in enumerate(descend(levels, (*self.topk[:-1], 0), self.variant)):
            total = add_level(total, result.message, None if weight is None else weight[i])
        assert total is not None
        return tokens_to_line(total, H)[:, :, :W]

    def _levels(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Iterator[Level]:
        """Tokens of every level, coarsest first, queries and keys rotated."""
        queries, _ = self._pyramid(query, query_mask)
        keys, masks = self._pyramid(key, source_mask)
        values, _ = self._pyramid(value, source_mask)
        for i in range(len(self.topk)):
            stride = self.fan_out ** (len(self.topk) - 1 - i)
            turned = rotated(queries.pop(0), stride), rotated(keys.pop(0), stride)
            yield Level(*turned, values.pop(0), None if masks is None else masks[i])

    def _pyramid(
        self, cells: Tensor, mask: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor] | None]:
        """Tokens (B * H, M, L, D) and masks of every level of a map (B, H, W, C)."""
        levels = len(self.topk)
        cells, mask = pad_to_multiple(cells, mask, (1, self.fan_out ** (levels - 1)))
        valid = None if mask is None else mask.flatten(0, 1)
        masks = mask_pyramid(valid, levels, self.fan_out)
        return token_pyramid(line_to_tokens(cells, self.heads), masks, levels, self.fan_out), masks
