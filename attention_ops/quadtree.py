"""QuadTree attention: coarse to fine, each level looks only where the level above pointed.

Tang, Zhang, Zhu, Tan: "QuadTree Attention for Vision Transformers", ICLR 2022, sec. 3.2 (the
variants A and B) and 3.3 (position encoding and value pyramid of several levels).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.functional import VARIANTS, TopKMessage, coarse_attention, fine_attention
from attention_ops.mechanism import Kind, Mechanism, masked_cells
from attention_ops.pyramid import (
    cell_of_token,
    map_to_tokens,
    pad_to_multiple,
    token_of_cell,
    tokens_to_map,
)
from attention_ops.tree_ops import merge, pyramid
from attention_ops.trees import Grid, valid_tokens

FAN = (2, 2)  # rows and columns of the children of a token


class Level(NamedTuple):
    """Tokens of one level; the children of a token lie side by side in the next level."""

    query: Tensor  # (B, M, L, D)
    key: Tensor  # (B, M, S, D)
    value: Tensor  # (B, M, S, D)
    mask: Tensor | None  # (B, S) bool, True = valid; None when every token is


class LevelResult(NamedTuple):
    """What one level gives, with the values that its position message is made of."""

    message: Tensor  # (B, M, L, D)
    index: Tensor  # type: ignore[assignment]  # (B, M, L, K) int32 tokens selected, -1 = none
    value: Tensor  # (B, M, S, D)
    mask: Tensor | None  # (B, S)


def descend(levels: Iterable[Level], topk: Sequence[int], variant: str) -> Iterator[LevelResult]:
    """Runs the levels of a token pyramid, coarsest first; index and score pass down.

    Lets go of queries and keys before it yields: at the finest level they are most of the
    memory, and a caller adds messages up meanwhile.

    Args:
        levels: the tokens, coarsest level first.
        topk: per level, how many tokens to select; 0 at the last level keeps variant A whole.
        variant: "A" or "B".
    """
    above: TopKMessage | None = None
    supply = iter(levels)
    for keep in topk:
        query, key, value, mask = next(supply)
        if above is None:
            above = coarse_attention(query, key, value, topk=keep, key_mask=mask, variant=variant)
        else:
            above = _look_below(Level(query, key, value, mask), above, keep, variant)
        del query, key
        yield LevelResult(above.message, above.index, value, mask)


def _look_below(level: Level, above: TopKMessage, topk: int, variant: str) -> TopKMessage:
    fan_out = level.query.shape[2] // above.index.shape[2]
    below = fine_attention(
        level.query.unflatten(2, (-1, fan_out)),
        level.key.unflatten(2, (-1, fan_out)),
        level.value.unflatten(2, (-1, fan_out)),
        above.index,
        topk=topk,
        parent_score=above.score if variant == "A" else None,
        key_mask=None if level.mask is None else level.mask.unflatten(1, (-1, fan_out)),
        variant=variant,
    )
    score = below.score.flatten(2, 3) if variant == "A" else below.score
    return TopKMessage(below.message.flatten(2, 3), below.index.flatten(2, 3), score)


@dataclass(frozen=True)
class VisitedCells:
    """Source cells that one level of the quadtree selected for one query cell."""

    level: int  # 0 = coarsest
    stride: int  # side of a cell of this level in cells of the source map
    cells: Tensor  # (K, 2) x, y in cells of this level, all heads together, without repeats
    heads: Tensor  # (K,) how many heads selected the cell


class QuadtreeAttention(Mechanism):
    """Attention in O(L * topk) below a coarse full level; see `Mechanism` for the contract.

    Args:
        channels: C of both maps and of the message.
        heads: M, a divisor of `channels`.
        kind: "self" or "cross".
        topk: tokens to select per level, coarsest first; its length is the number of levels.
            The last is used by `visited_cells` only.
        variant: "A" (messages of the levels add up) or "B" (weighted by `level_weight`).
        position: "none", or "lepe": a 3 x 3 depthwise convolution of the values is added to
            the message of every level. Only for kind "self".
        value_pyramid: "pool", or "conv": the values of a coarser level are made by a learned
            2 x 2 convolution, batch norm and ReLU. Only for kind "self".
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(  # noqa: PLR0913  its settings, each with a default
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        topk: Sequence[int] = (16, 8, 8),
        variant: str = "B",
        position: str = "none",
        value_pyramid: str = "pool",
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        _check_settings(kind, topk, variant, position, value_pyramid)
        self.topk = tuple(topk)
        self.levels = len(self.topk)
        self.variant = variant
        self.level_weight: nn.Parameter | None = None
        if variant == "B":
            self.level_weight = nn.Parameter(torch.zeros(self.levels))  # before the softmax
        self.lepe: nn.ModuleList | None = None
        if position == "lepe":
            self.lepe = nn.ModuleList(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in self.topk
            )
        self.value_steps: nn.ModuleList | None = None
        if value_pyramid == "conv":
            self.value_steps = nn.ModuleList(_value_step(channels) for _ in self.topk[1:])

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.attend`."""
        size = (query.shape[1], query.shape[2])
        levels = self._levels(query, key, value, query_mask, source_mask)
        del query, key, value
        weight = None if self.level_weight is None else self.level_weight.softmax(0)
        messages = []
        for i, result in enumerate(descend(levels, (*self.topk[:-1], 0), self.variant)):
            message = result.message
            if self.lepe is not None:
                message = message + self._position(i, result, size)
            messages.append(message)
            del result
        return merge(messages, weight, size, FAN)

    def _levels(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Iterator[Level]:
        """Tokens of every level for maps (B, H, W, C), coarsest first; forgets what it gave."""
        queries = pyramid(query, query_mask, self.heads, self.levels, FAN)
        keys = pyramid(key, source_mask, self.heads, self.levels, FAN)
        masks = valid_tokens(key, source_mask, self.levels, FAN)
        values = self._value_levels(value, source_mask, masks)
        while queries:
            mask = None if masks is None else masks.pop(0)
            yield Level(queries.pop(0), keys.pop(0), values.pop(0), mask)

    def _value_levels(
        self, value: Tensor, mask: Tensor | None, masks: list[Tensor] | None
    ) -> list[Tensor]:
        if self.value_steps is None:
            return pyramid(value, mask, self.heads, self.levels, FAN)
        side = 2 ** (self.levels - 1)
        cells, _ = pad_to_multiple(value, mask, (side, side))
        values: list[Tensor] = []
        for level in range(self.levels - 1, -1, -1):
            if level < self.levels - 1:
                cells = self.value_steps[level](cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            tokens = map_to_tokens(cells, level + 1, self.heads)
            if masks is not None:
                tokens = tokens.masked_fill(~masks[level][:, None, :, None], 0)
                cells = tokens_to_map(tokens, (cells.shape[1], cells.shape[2]), level + 1)
            values.insert(0, tokens)
        return values

    def _position(self, i: int, level: LevelResult, size: tuple[int, int]) -> Tensor:
        """Position message (B, M, L, D) of level `i` of a map of that size from its values."""
        assert self.lepe is not None
        tokens = level.value
        if level.mask is not None:
            tokens = tokens.masked_fill(~level.mask[:, None, :, None], 0)
        height, width = Grid(*size, self.levels, FAN).padded
        stride = 2 ** (self.levels - 1 - i)
        cells = tokens_to_map(tokens, (height // stride, width // stride), i + 1)
        encoded = self.lepe[i](cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return map_to_tokens(encoded, i + 1, self.heads)

    @torch.no_grad()
    def visited_cells(
        self,
        query_map: Tensor,
        source_map: Tensor,
        cell_xy: tuple[int, int],
        query_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> list[VisitedCells]:
        """Where one query cell looks, level by level; the batch's first pair only.

        Args:
            query_map: (B, C, H, W).
            source_map: (B, C, Hs, Ws).
            cell_xy: x, y of the query cell.
            query_mask: (B, H, W) bool or None.
            source_mask: (B, Hs, Ws) bool or None.

        Returns:
            One entry per level, coarsest first.
        """
        query = self.query(masked_cells(query_map, query_mask))
        source = masked_cells(source_map, source_mask)
        key, value = self.key(source), self.value(source)
        levels = self._levels(query, key, value, query_mask, source_mask)
        coarse_width = -(-query_map.shape[3] // 2 ** (self.levels - 1))
        source_width = -(-source_map.shape[3] // 2 ** (self.levels - 1))
        token = token_of_cell(cell_xy, coarse_width << self.levels - 1, self.levels)
        visited = []
        for i, result in enumerate(descend(levels, self.topk, self.variant)):
            above = self.levels - 1 - i
            chosen = result.index[0, :, token >> 2 * above].flatten()  # (M * K,)
            tokens, heads = chosen[chosen >= 0].unique(return_counts=True)
            cells = cell_of_token(tokens.long(), source_width << i, i + 1)
            visited.append(VisitedCells(i, 2**above, cells, heads))
        return visited


def _value_step(channels: int) -> nn.Module:
    """Values of the next coarser level: each parent from its own four children."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 2, stride=2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def _check_settings(
    kind: str, topk: Sequence[int], variant: str, position: str, value_pyramid: str
) -> None:
    check_choice("variant", variant, VARIANTS)
    check_choice("position", position, ("none", "lepe"))
    check_choice("value_pyramid", value_pyramid, ("pool", "conv"))
    if not topk or min(topk) < 1:
        raise ValueError(f"topk must be one positive number per level, got {tuple(topk)}")
    if kind == "cross" and (position != "none" or value_pyramid != "pool"):
        raise ValueError(
            f"position {position!r} and value_pyramid {value_pyramid!r} are for kind 'self': a "
            "cross layer's values lie in the other image; use 'none' and 'pool'"
        )
