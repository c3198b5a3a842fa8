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
from attention_ops.pyramid import line_to_tokens
from attention_ops.quadtree import Level, descend
from attention_ops.softmax import softmax_attention
from attention_ops.tree_ops import merge, pyramid
from attention_ops.trees import Grid, turned, valid_tokens

LONGEST_WAVE = 1024.0  # cells; the shortest wave is 2 pi


def row_turn(widths: Sequence[int], strides: Sequence[int], channels: int, like: Tensor) -> Tensor:
    """The rotation of rows of tokens by their column, for `trees.turned`.

    Token i of a row whose tokens stand for `stride` cells each stands for cells i * stride ..
    i * stride + stride - 1 and is turned by the column of their middle, so inner products depend on
    the difference of two columns only.

    Args:
        widths: tokens of a row, for each row.
        strides: cells of a token, for each row.
        channels: D, even.
        like: device and dtype, at least float32, of the result.

    Returns:
        (sum of widths, 2, D), one row after the other.
    """
    half = channels // 2
    wide = torch.promote_types(like.dtype, torch.float32)
    rows = zip(widths, strides, strict=True)
    columns = [torch.arange(w, device=like.device, dtype=wide) * s + (s - 1) / 2 for w, s in rows]
    share = torch.arange(half, device=like.device, dtype=wide) / half
    angle = torch.cat(columns)[:, None] * torch.exp(-math.log(LONGEST_WAVE / (2 * math.pi)) * share)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)), 1)


def rotated(tokens: Tensor) -> Tensor:
    """Tokens (..., L, D) of one row, a cell each, turned by their columns."""
    L, D = tokens.shape[-2:]
    return turned(tokens, row_turn([L], [1], D, tokens))


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
        B, H, W, _ = query.shape
        weight = None if self.level_weight is None else self.level_weight.softmax(0)
        levels = self._levels(query, key, value, query_mask, source_mask)
        steps = descend(levels, (*self.topk[:-1], 0), self.variant)
        messages = [result.message for result in steps]
        return merge(messages, weight, (1, W), (1, self.fan_out)).view(B, H, W, -1)

    def _levels(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Iterator[Level]:
        """Tokens of every level, coarsest first, queries and keys rotated; forgets what it gave."""
        queries = self._pyramid(query, query_mask, self._turn(query))
        keys = self._pyramid(key, source_mask, self._turn(key))
        values = self._pyramid(value, source_mask, None)
        lines = None if source_mask is None else source_mask.flatten(0, 1)[:, None]
        masks = valid_tokens(key.flatten(0, 1)[:, None], lines, len(self.topk), (1, self.fan_out))
        while queries:
            mask = None if masks is None else masks.pop(0)
            yield Level(queries.pop(0), keys.pop(0), values.pop(0), mask)

    def _pyramid(self, cells: Tensor, mask: Tensor | None, turn: Tensor | None) -> list[Tensor]:
        """Tokens (B * H, M, L, D) of every level of a map (B, H, W, C), rows apart."""
        lines = None if mask is None else mask.flatten(0, 1)[:, None]
        fan = (1, self.fan_out)
        cells = cells.flatten(0, 1)[:, None]
        return pyramid(cells, lines, self.heads, len(self.topk), fan, turn)

    def _turn(self, cells: Tensor) -> Tensor:
        """The rotation of the tokens of a map (B, H, W, C), of all levels."""
        levels = len(self.topk)
        widths = Grid(1, cells.shape[2], levels, (1, self.fan_out)).tokens
        strides = [self.fan_out ** (levels - 1 - level) for level in range(levels)]
        return row_turn(widths, strides, cells.shape[3] // self.heads, cells)
