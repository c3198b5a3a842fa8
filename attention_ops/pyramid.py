"""Token pyramids: the order the sparse ops want, pooling that knows masks, and the way back.

Tokens of a map are in nested Z-order: the cells of the coarsest grid in raster order, each
followed down to its four children, (row, column) = (0, 0), (0, 1), (1, 0), (1, 1), at every
level. The children of token t of one level are tokens 4 t .. 4 t + 3 of the next, so pooling is
a mean over an axis and the way from map to tokens is one permute. A line (1-D) needs no
reordering: any run of `fan_out` neighbours has one parent. Levels are counted coarsest first.
"""

import torch
from torch import Tensor, nn


def map_to_tokens(
    feature: Tensor, levels: int, heads: int, fan: tuple[int, int] = (2, 2)
) -> Tensor:
    """Tokens per head in nested Z-order.

    Args:
        feature: (B, H, W, C), H and W multiples of 2 ** (levels - 1).
        levels: levels of the pyramid whose finest one this map is.
        heads: M; channel = head * D + d.
        fan: rows and columns of the children of a token.

    Returns:
        (B, M, L, D), L = H * W, C = M * D, contiguous.
    """
    split: Tensor = feature.unflatten(2, _factors(feature.shape[2], levels, fan[1]))
    split = split.unflatten(1, _factors(feature.shape[1], levels, fan[0]))
    # Two plain copies, whole cells and then heads, take less time than one over all axes.
    ordered = split.permute(0, *_interleaved(levels), 2 * levels + 1).flatten(1, -2)  # (B, L, C)
    tokens: Tensor = ordered.unflatten(2, (heads, -1))
    return tokens.transpose(1, 2).contiguous()


def tokens_to_map(
    tokens: Tensor, size: tuple[int, int], levels: int, fan: tuple[int, int] = (2, 2)
) -> Tensor:
    """Undoes `map_to_tokens`: (B, M, L, D) -> (B, H, W, C) with (H, W) = size, contiguous."""
    order = _interleaved(levels)
    factors = [*_factors(size[0], levels, fan[0]), *_factors(size[1], levels, fan[1])]
    split: Tensor = tokens.unflatten(2, [factors[axis - 1] for axis in order])
    back = [2 + order.index(axis) for axis in range(1, 2 * levels + 1)]
    split = split.permute(0, *back, 1, 2 * levels + 2)
    return split.reshape(tokens.shape[0], *size, tokens.shape[1] * tokens.shape[3])


def mask_to_tokens(mask: Tensor, levels: int) -> Tensor:
    """The mask of a map in the order of its tokens: (B, H, W) -> (B, L)."""
    return map_to_tokens(mask[..., None], levels, heads=1)[:, 0, :, 0]


def line_to_tokens(feature: Tensor, heads: int) -> Tensor:
    """Every row of a map as a line of its own: (B, H, W, C) -> (B * H, M, W, D), contiguous."""
    tokens: Tensor = feature.flatten(0, 1).unflatten(2, (heads, -1))
    return tokens.transpose(1, 2).contiguous()


def tokens_to_line(tokens: Tensor, rows: int) -> Tensor:
    """Undoes `line_to_tokens`: (B * H, M, W, D) -> (B, H, W, C) with H = rows."""
    cells: Tensor = tokens.transpose(1, 2).flatten(2).unflatten(0, (-1, rows))
    return cells


def pad_to_multiple(
    feature: Tensor, mask: Tensor | None, multiple: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """Pads a map at the bottom and right, masking what was added.

    Args:
        feature: (B, H, W, C).
        mask: (B, H, W) bool, True = valid, or None.
        multiple: what the padded height and width are multiples of.

    Returns:
        The padded map and its mask; the mask stays None where nothing was added.
    """
    (H, W), (of_height, of_width) = feature.shape[1:3], multiple
    # written as a multiple, not with %: torch.compile can then divide it again without a proof
    below = (H + of_height - 1) // of_height * of_height - H
    right = (W + of_width - 1) // of_width * of_width - W
    if below == 0 and right == 0:
        return feature, mask
    if mask is None:
        mask = feature.new_ones(feature.shape[:3]).bool()
    feature = nn.functional.pad(feature, (0, 0, 0, right, 0, below))
    return feature, nn.functional.pad(mask, (0, right, 0, below))


def pool(tokens: Tensor, valid: Tensor | None, fan_out: int = 4) -> Tensor:
    """Mean over the valid children of each parent, 0 where none is.

    Args:
        tokens: (B, M, L, D), the `fan_out` children of a parent contiguous.
        valid: (B, L) bool or None.
        fan_out: children per parent.

    Returns:
        (B, M, L / fan_out, D).
    """
    children: Tensor = tokens.unflatten(2, (-1, fan_out))
    if valid is None:
        return children.mean(3)
    valid = valid.unflatten(1, (-1, fan_out))[:, None, :, :, None]  # (B, 1, P, F, 1)
    return children.masked_fill(~valid, 0).sum(3) / valid.sum(3).clamp(min=1)


def pool_mask(valid: Tensor, fan_out: int = 4) -> Tensor:
    """A parent is valid if any child is: (B, L) -> (B, L / fan_out)."""
    children: Tensor = valid.unflatten(1, (-1, fan_out))
    return children.any(2)


def token_pyramid(
    tokens: Tensor, masks: list[Tensor] | None, levels: int, fan_out: int = 4
) -> list[Tensor]:
    """Pooled tokens of every level, coarsest first, the last one `tokens` (B, M, L, D) itself.

    `masks` are those of `mask_pyramid`, coarsest first.
    """
    pyramid = [tokens]
    for level in range(levels - 1, 0, -1):
        pyramid.insert(0, pool(pyramid[0], None if masks is None else masks[level], fan_out))
    return pyramid


def mask_pyramid(valid: Tensor | None, levels: int, fan_out: int = 4) -> list[Tensor] | None:
    """Masks of every level, coarsest first, the last one `valid` (B, L) itself."""
    if valid is None:
        return None
    pyramid = [valid]
    for _ in range(levels - 1):
        pyramid.insert(0, pool_mask(pyramid[0], fan_out))
    return pyramid


def token_of_cell(cell_xy: tuple[int, int], width: int, levels: int) -> int:
    """Number of the token at cell (x, y) of a map `width` cells wide; undoes `cell_of_token`."""
    x, y = cell_xy
    side: int = 2 ** (levels - 1)
    token: int = (y // side) * (width // side) + x // side
    for bit in range(levels - 2, -1, -1):
        token = 4 * token + 2 * (y >> bit & 1) + (x >> bit & 1)
    return token


def cell_of_token(token: Tensor, width: int, levels: int) -> Tensor:
    """Cells x, y (..., 2) of token numbers (...) of a map `width` cells wide."""
    side: int = 2 ** (levels - 1)
    root = token >> 2 * (levels - 1)
    x, y = root % (width // side) * side, root // (width // side) * side
    for bit in range(levels - 1):
        child = token >> 2 * bit
        x, y = x + ((child & 1) << bit), y + ((child >> 1 & 1) << bit)
    return torch.stack((x, y), -1)


def _factors(side: int, levels: int, fan: int) -> list[int]:
    """A side as cells of the coarsest level and one factor `fan` for each finer one."""
    return [side // fan ** (levels - 1)] + [fan] * (levels - 1)


def _interleaved(levels: int) -> list[int]:
    """Axes of a map split by `_factors`, row and column of each level side by side."""
    return [axis for level in range(1, levels + 1) for axis in (level, level + levels)]
