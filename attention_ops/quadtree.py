"""QuadTree attention: coarse to fine, each level looks only where the level above pointed.

Tang, Zhang, Zhu, Tan: "QuadTree Attention for Vision Transformers", ICLR 2022, sec. 3.2 (the
variants A and B) and 3.3 (position encoding and value pyramid of several levels).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.functional import VARIANTS, TopKMessage, coarse_attention, fine_attention
from attention_ops.mechanism import Kind, Mechanism, masked_cells
from attention_ops.pyramid import (
    cell_of_token,
    map_to_tokens,
    mask_pyramid,
    mask_to_tokens,
    pad_to_multiple,
    token_of_cell,
    token_pyramid,
    tokens_to_map,
)


def descend(
    query: Sequence[Tensor],
    key: Sequence[Tensor],
    value: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    topk: Sequence[int],
    variant: str,
) -> list[TopKMessage]:
    """Runs the levels of a token pyramid, coarsest first; index and score pass down.

    Args:
        query: per level (B, M, L, D), the children of a token contiguous in the next level.
        key: per level (B, M, S, D).
        value: per level (B, M, S, D).
        masks: per level (B, S) bool, True = valid; None when every token is.
        topk: per level, how many tokens to select; 0 at the last level keeps variant A whole.
        variant: "A" or "B".

    Returns:
        Per level the message (B, M, L, D), index (B, M, L, K) and score (B, M, L, K).
    """
    mask = None if masks is None else masks[0]
    above = coarse_attention(
        query[0], key[0], value[0], topk=topk[0], key_mask=mask, variant=variant
    )
    results = [above]
    for level in range(1, len(query)):
        fan_out = query[level].shape[2] // query[level - 1].shape[2]
        below = fine_attention(
            query[level].unflatten(2, (-1, fan_out)),
            key[level].unflatten(2, (-1, fan_out)),
            value[level].unflatten(2, (-1, fan_out)),
            above.index,
            topk=topk[level],
            parent_score=above.score if variant == "A" else None,
            key_mask=None if masks is None else masks[level].unflatten(1, (-1, fan_out)),
            variant=variant,
        )
        score = below.score.flatten(2, 3) if variant == "A" else below.score
        above = TopKMessage(below.message.flatten(2, 3), below.index.flatten(2, 3), score)
        results.append(above)
    return results


def merge_levels(messages: Sequence[Tensor], weight: Tensor | None = None) -> Tensor:
    """Sum of the messages of all levels, a parent's given to each of its children.

    Args:
        messages: per level (B, M, L, D), coarsest first.
        weight: (levels,) factor of each level, or None for 1.

    Returns:
        (B, M, L, D) of the finest level.
    """
    total = messages[0] if weight is None else messages[0] * weight[0]
    for level in range(1, len(messages)):
        children = messages[level].unflatten(2, (total.shape[2], -1))
        parent = total[:, :, :, None]
        if weight is None:
            children = parent + children
        else:
            children = torch.addcmul(parent, children, weight[level])
        total = children.flatten(2, 3)
    return total


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
        H, W = query.shape[1:3]
        query_levels, _, padded = self._pyramid(query, query_mask)
        key_levels, masks, _ = self._pyramid(key, source_mask)
        value_levels = self._value_levels(value, source_mask, masks)
        topk = (*self.topk[:-1], 0)
        results = descend(query_levels, key_levels, value_levels, masks, topk, self.variant)
        messages = [result.message for result in results]
        if self.lepe is not None:
            positions = self._lepe_levels(value_levels, masks, padded)
            messages = [x + y for x, y in zip(messages, positions, strict=True)]
        weight = None if self.level_weight is None else self.level_weight.softmax(0)
        message = tokens_to_map(merge_levels(messages, weight), padded, self.levels)
        return message[:, :H, :W]

    def _pyramid(
        self, cells: Tensor, mask: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor] | None, tuple[int, int]]:
        """Tokens and masks of every level of a map (B, H, W, C), and its padded size."""
        side = 2 ** (self.levels - 1)
        cells, mask = pad_to_multiple(cells, mask, (side, side))
        tokens = map_to_tokens(cells, self.levels, self.heads)
        valid = None if mask is None else mask_to_tokens(mask, self.levels)
        masks = mask_pyramid(valid, self.levels)
        size = (cells.shape[1], cells.shape[2])
        return token_pyramid(tokens, masks, self.levels), masks, size

    def _value_levels(
        self, value: Tensor, mask: Tensor | None, masks: list[Tensor] | None
    ) -> list[Tensor]:
        if self.value_steps is None:
            return self._pyramid(value, mask)[0]
        side = 2 ** (self.levels - 1)
        cells, _ = pad_to_multiple(value, mask, (side, side))
        pyramid: list[Tensor] = []
        for level in range(self.levels - 1, -1, -1):
            if level < self.levels - 1:
                cells = self.value_steps[level](cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            tokens = map_to_tokens(cells, level + 1, self.heads)
            if masks is not None:
                tokens = tokens.masked_fill(~masks[level][:, None, :, None], 0)
                cells = tokens_to_map(tokens, (cells.shape[1], cells.shape[2]), level + 1)
            pyramid.insert(0, tokens)
        return pyramid

    def _lepe_levels(
        self, value_levels: list[Tensor], masks: list[Tensor] | None, size: tuple[int, int]
    ) -> list[Tensor]:
        """Position messages (B, M, L, D) of every level from its values."""
        assert self.lepe is not None
        positions = []
        for level, (conv, tokens) in enumerate(zip(self.lepe, value_levels, strict=True)):
            if masks is not None:
                tokens = tokens.masked_fill(~masks[level][:, None, :, None], 0)
            stride = 2 ** (self.levels - 1 - level)
            cells = tokens_to_map(tokens, (size[0] // stride, size[1] // stride), level + 1)
            encoded = conv(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            positions.append(map_to_tokens(encoded, level + 1, self.heads))
        return positions

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
        source = masked_cells(source_map, source_mask)
        query, _, (_, width) = self._pyramid(
            self.query(masked_cells(query_map, query_mask)), query_mask
        )
        key, masks, (_, source_width) = self._pyramid(self.key(source), source_mask)
        value = self._value_levels(self.value(source), source_mask, masks)
        token = token_of_cell(cell_xy, width, self.levels)
        visited = []
        for level, result in enumerate(descend(query, key, value, masks, self.topk, self.variant)):
            above = self.levels - 1 - level
            chosen = result.index[0, :, token >> 2 * above].flatten()  # (M * K,)
            tokens, heads = chosen[chosen >= 0].unique(return_counts=True)
            cells = cell_of_token(tokens.long(), source_width >> above, level + 1)
            visited.append(VisitedCells(level, 2**above, cells, heads))
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
