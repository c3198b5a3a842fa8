"""Windows of a map: cut a map into them, put it together again, gather them anywhere in another.

Windows have `side` x `side` cells in raster order. Those of the query map tile it; the first ones
may start before the map (`before` cells), what lies past the map is masked.
"""

import torch
from torch import Tensor, nn

from attention_ops.reference_points import own_points, valid_extent


def cut_windows(
    cells: Tensor, mask: Tensor | None, side: int, before: int = 0
) -> tuple[Tensor, Tensor]:
    """Tiles a map (B, H, W, C) with windows, the first one `before` cells left of and above it.

    Returns:
        Tokens (B, ny, nx, side * side, C) and which of them are valid (B, ny, nx, side * side).
    """
    H, W = cells.shape[1:3]
    after_y = -(H + before) % side
    after_x = -(W + before) % side
    around = (before, after_x, before, after_y)
    valid = cells.new_ones(cells.shape[:3], dtype=torch.bool) if mask is None else mask
    valid = nn.functional.pad(valid, around)[..., None]
    tokens = nn.functional.pad(cells, (0, 0, *around))
    return _cut(tokens, side), _cut(valid, side).squeeze(4)


def _cut(cells: Tensor, side: int) -> Tensor:
    split: Tensor = cells.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, ny, w, nx, w, C)
    return split.transpose(2, 3).flatten(3, 4)


def join_windows(tokens: Tensor, size: tuple[int, int], side: int, before: int = 0) -> Tensor:
    """Undoes `cut_windows`: (B, ny, nx, side * side, C) -> (B, H, W, C) with (H, W) = size."""
    split = tokens.unflatten(3, (side, side)).transpose(2, 3)
    cells: Tensor = split.flatten(3, 4).flatten(1, 2)
    return cells[:, before : before + size[0], before : before + size[1]]


def gather_windows(
    cells: Tensor, mask: Tensor | None, origin: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    """Windows anywhere, as `cut_windows` gives them.

    Args:
        cells: (B, H, W, C).
        mask: (B, H, W) bool, True = valid, or None.
        origin: (B, ny, nx, 2) int64, x, y of the first cell of each window; may lie off the map.
        side: cells along each side of a window.

    Returns:
        Tokens (B, ny, nx, side * side, C) and which of them are valid (B, ny, nx, side * side).
    """
    B, H, W, C = cells.shape
    step = torch.arange(side, device=cells.device)
    x = (origin[..., 0, None, None] + step).expand(*origin.shape[:3], side, side).flatten(3)
    y = (
        (origin[..., 1, None, None] + step[:, None])
        .expand(*origin.shape[:3], side, side)
        .flatten(3)
    )
    valid = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    first = torch.arange(B, device=cells.device)[:, None, None, None] * (H * W)
    index = first + y.clamp(0, H - 1) * W + x.clamp(0, W - 1)
    tokens = cells.reshape(B * H * W, C).index_select(0, index.flatten()).view(*index.shape, C)
    if mask is not None:
        valid = valid & mask.flatten()[index]
    return tokens, valid


def aligned_origins(
    query_cells: Tensor,
    source_cells: Tensor,
    query_mask: Tensor | None,
    source_mask: Tensor | None,
    reference: Tensor | None,
    side: int,
    before: int = 0,
) -> Tensor:
    """Where in the source the window lies that belongs to each window of the query map.

    Its middle is at the same fraction of the valid extent as that of the query's window, moved by
    the mean way from the valid cells of that window to their reference points, and rounded to whole
    cells. Between maps of one size without references it is the query's own window.

    Args:
        query_cells: (B, H, W, C).
        source_cells: (B, Hs, Ws, C).
        query_mask: (B, H, W) bool or None.
        source_mask: (B, Hs, Ws) bool or None.
        reference: (B, H, W, 2), fractions of the source's valid extent; None or not finite: its own place.
        side: of a window.
        before: as for `cut_windows`.

    Returns:
        (B, ny, nx, 2) int64, x, y of the window's first cell.
    """
    extent = valid_extent(query_cells, query_mask)
    wide = torch.promote_types(query_cells.dtype, torch.float32)
    source_extent = valid_extent(source_cells, source_mask).to(wide)
    H, W = query_cells.shape[1:3]
    ny, nx = -(-(H + before) // side), -(-(W + before) // side)
    column = torch.arange(nx, device=extent.device, dtype=wide) * side - before + side / 2
    row = torch.arange(ny, device=extent.device, dtype=wide) * side - before + side / 2
    middle = torch.stack((column.expand(ny, nx), row[:, None].expand(ny, nx)), -1)
    middle = middle * (source_extent / extent)[:, None, None]
    if reference is not None:
        way = (reference - own_points(query_cells, query_mask)) * source_extent[:, None, None]
        way = way.where(way.isfinite(), 0)
        way, valid = cut_windows(way, query_mask, side, before)
        valid = valid[..., None]
        middle = middle + (way * valid).sum(3) / valid.sum(3).clamp(min=1)
    return (middle - side / 2 + 0.5).floor().long()


def relative_index(side: int, margin: int, device: torch.device) -> Tensor:
    """Row of a bias table for each query of a window and each key of the window and its margin.

    Row (dy + r) (2 r + 1) + dx + r with d = query - key and r = side + margin - 1 (Swin, Liu et
    al. 2021, eq. 4).

    Returns:
        (side ** 2, (side + 2 * margin) ** 2) int64.
    """
    reach = side + margin - 1
    query = torch.arange(side, device=device)
    key = torch.arange(-margin, side + margin, device=device)
    d = query[:, None] - key + reach  # (side, side + 2 margin)
    both = d[:, None, :, None] * (2 * reach + 1) + d[None, :, None, :]
    return both.flatten(2, 3).flatten(0, 1)
