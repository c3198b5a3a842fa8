"""Trees of tokens over maps, in plain PyTorch: what `tree_ops` computes, slow and obvious.

A map (B, H, W, C) has tokens (B, M, L, D) at every level, in the nested order of `pyramid`; the
cells beyond the map that a whole tree would have are zeros that are never valid. Both functions are
linear, and with the same arguments (no weight) each is the transpose of the other.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_ops.pyramid import map_to_tokens, mask_pyramid, pool, tokens_to_map
from attention_ops.reference_points import xy

Fan = tuple[int, int]  # rows and columns of the children of a token: (2, 2), (1, 2) or (1, 4)


class Grid(NamedTuple):
    """A map of H x W cells under trees of some levels."""

    height: int
    width: int
    levels: int
    fan: Fan

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the whole trees."""
        below = (self.fan[0] ** (self.levels - 1), self.fan[1] ** (self.levels - 1))
        return (
            (self.height + below[0] - 1) // below[0] * below[0],
            (self.width + below[1] - 1) // below[1] * below[1],
        )

    @property
    def tokens(self) -> list[int]:
        """Tokens of every level, coarsest first."""
        below = (self.fan[0] ** (self.levels - 1), self.fan[1] ** (self.levels - 1))
        rows = (self.height + below[0] - 1) // below[0]
        columns = (self.width + below[1] - 1) // below[1]
        F = self.fan[0] * self.fan[1]
        return [rows * columns * F**level for level in range(self.levels)]


def pyramid_of(
    cells: Tensor,
    mask: Tensor | None,
    turn: Tensor | None,
    heads: int,
    levels: int,
    fan: Fan,
    mean: bool,
) -> list[Tensor]:
    """Tokens of every level of a map, coarsest first.

    Args:
        cells: (B, H, W, C).
        mask: (B, H, W) bool, True = valid, or None; what is not valid becomes 0.
        turn: see `turned`, or None.
        heads: M; channel = head * D + d.
        levels: how many.
        fan: rows and columns of the children of a token.
        mean: a parent is the mean of its valid children, else their sum.

    Returns:
        (B, M, L, D) for every level.
    """
    F = fan[0] * fan[1]
    tokens, valid = _finest(cells, mask, heads, Grid(cells.shape[1], cells.shape[2], levels, fan))
    masks = mask_pyramid(valid, levels, F)
    assert masks is not None
    wide = torch.promote_types(tokens.dtype, torch.float32)
    pyramid = [tokens.to(wide).masked_fill(~valid[:, None, :, None], 0)]
    for level in range(levels - 1, 0, -1):
        below = pyramid[0]
        if mean:
            pyramid.insert(0, pool(below, masks[level], F))
        else:
            pyramid.insert(0, below.unflatten(2, (-1, F)).sum(3))
    if turn is not None:
        sizes = [level.shape[2] for level in pyramid]
        pyramid = [turned(x, t) for x, t in zip(pyramid, turn.split(sizes), strict=True)]
    return [level.to(cells.dtype) for level in pyramid]


def merged(
    tokens: list[Tensor],
    weight: Tensor | None,
    mask: Tensor | None,
    turn: Tensor | None,
    size: tuple[int, int],
    fan: Fan,
    mean: bool,
) -> Tensor:
    """Every cell the sum of the tokens above it, with the weights of their levels.

    Args:
        tokens: (B, M, L, D) for every level, coarsest first.
        weight: (levels,), or None for ones.
        mask: (B, H, W) bool, True = valid, or None; other cells become 0.
        turn: as in `pyramid_of`; undone here.
        size: H and W.
        fan: as in `pyramid_of`.
        mean: what a token hands down is divided by the number of its valid children.

    Returns:
        (B, H, W, C).
    """
    grid = Grid(*size, len(tokens), fan)
    F = fan[0] * fan[1]
    wide = torch.promote_types(tokens[0].dtype, torch.float32)
    if mask is None:
        mask = tokens[0].new_ones(tokens[0].shape[0], *size).bool()
    valid = _finest(mask[..., None], None, 1, grid)[0][:, 0, :, 0]
    masks = mask_pyramid(valid, len(tokens), F)
    assert masks is not None
    steps = turn.split([level.shape[2] for level in tokens]) if turn is not None else None
    total: Tensor | None = None
    for i, level in enumerate(tokens):
        row = level.to(wide)
        if steps is not None:
            row = turned(row, steps[i] * xy(1, -1, steps[i])[:, None])
        if weight is not None:
            row = row * weight[i].to(wide)
        if total is not None:
            if mean:
                count = masks[i].unflatten(1, (-1, F)).sum(2).clamp(min=1)
                total = total / count[:, None, :, None]
            row = row + total.repeat_interleave(F, 2)
        total = row
    assert total is not None
    total = total.masked_fill(~valid[:, None, :, None], 0).to(tokens[0].dtype)
    return tokens_to_map(total, grid.padded, len(tokens), fan)[:, : size[0], : size[1]].contiguous()


def turned(tokens: Tensor, turn: Tensor) -> Tensor:
    """Tokens (..., L, D) with channel pairs (d, d + D / 2) rotated (Su et al. 2021, eq. 34).

    `turn` (L, 2, D) holds in its first row the cosines, in its second the sines, negative for the
    first half of the channels.
    """
    turn = turn.to(tokens.dtype)
    half = tokens.shape[-1] // 2
    partner = torch.cat((tokens[..., half:], tokens[..., :half]), -1)
    return torch.addcmul(tokens * turn[:, 0], partner, turn[:, 1])


def valid_tokens(cells: Tensor, mask: Tensor | None, levels: int, fan: Fan) -> list[Tensor] | None:
    """Which tokens hold a valid cell: (B, L) bool for every level of a map, coarsest first.

    None where every cell is valid and whole trees cover the map (B, H, W, C) exactly.
    """
    grid = Grid(cells.shape[1], cells.shape[2], levels, fan)
    below, right = grid.padded[0] - grid.height, grid.padded[1] - grid.width
    if mask is None and below == 0 and right == 0:
        return None
    valid = cells.new_ones(cells.shape[:3], dtype=torch.bool) if mask is None else mask
    valid = nn.functional.pad(valid, (0, right, 0, below))
    order = map_to_tokens(valid[..., None], levels, 1, fan)[:, 0, :, 0]
    return mask_pyramid(order, levels, fan[0] * fan[1])


def _finest(cells: Tensor, mask: Tensor | None, heads: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Tokens (B, M, L, D) of the padded map and which are valid (B, L)."""
    if mask is None:
        mask = cells.new_ones(cells.shape[:3], dtype=torch.bool)
    below, right = grid.padded[0] - grid.height, grid.padded[1] - grid.width
    masks = valid_tokens(cells, mask, grid.levels, grid.fan)
    assert masks is not None
    cells = nn.functional.pad(cells, (0, 0, 0, right, 0, below))
    return map_to_tokens(cells, grid.levels, heads, grid.fan), masks[-1]
