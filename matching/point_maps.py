"""One image of a pair as the point decoder reads it, and how points become places in its maps.

Points are x, y in pixels of the network's image, the centre of the top-left pixel is (0, 0). Every map is
centred on what it covers: cell i of a map of stride s has its middle at pixel s i + (s - 1) / 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_ops import point_encoding
from attention_ops.reference_points import xy

STRIDES = (4, 8, 16)  # of the maps of the pyramid, px
COARSE_STRIDE, FINE_STRIDE = 8, 2


@dataclass(frozen=True)
class SideMaps:
    """Features of one image of B pairs; what lies under the mask is 0 in all of them."""

    tokens: Tensor  # (B, C, H/8, W/8) after the two-view transformer
    fine: Tensor  # (B, D, H/2, W/2)
    mask: Tensor | None  # (B, H/8, W/8) bool, True = real
    extent: Tensor  # (B, 2) width and height in pixels of the rectangle of real cells


@dataclass(frozen=True)
class Pyramid:
    """Maps with the decoder's channels, and their masks."""

    coarse: Tensor  # (B, H/8, W/8, C)
    coarse_mask: Tensor | None  # (B, H/8, W/8) bool
    maps: tuple[
        Tensor, ...
    ]  # (B, H/s, W/s, C) of `STRIDES`; none where only the coarse one is read
    masks: tuple[Tensor | None, ...]  # (B, H/s, W/s) bool
    extent: Tensor  # as in SideMaps


def side_maps(tokens: Tensor, fine: Tensor, mask: Tensor | None) -> SideMaps:
    """Features (B, C, h, w) and (B, D, 4 h, 4 w) of an image with a mask (B, h, w) or None."""
    B, _, h, w = tokens.shape
    if mask is None:
        size = xy(w, h, tokens) * COARSE_STRIDE
        return SideMaps(tokens, fine, None, size.expand(B, 2))
    tokens = tokens.masked_fill(~mask[:, None], 0)
    fine = fine.masked_fill(~enlarged(mask, COARSE_STRIDE // FINE_STRIDE)[:, None], 0)
    columns = torch.arange(1, w + 1, device=mask.device)
    rows = torch.arange(1, h + 1, device=mask.device)
    width, height = (mask.any(1) * columns).amax(1), (mask.any(2) * rows).amax(1)
    extent = torch.stack([width, height], 1).clamp(min=1) * COARSE_STRIDE
    return SideMaps(tokens, fine, mask, extent.to(tokens.dtype))


def pyramid_masks(mask: Tensor | None) -> tuple[Tensor | None, ...]:
    """Masks of the maps of a pyramid, from that of the coarse map (B, h, w)."""
    if mask is None:
        return (None,) * len(STRIDES)
    pooled = F.max_pool2d(mask[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
    return enlarged(mask, 2), mask, pooled


def halved(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Means of the real cells among each 2 x 2 of a map (B, C, H, W) that is 0 under its mask."""
    mean = F.avg_pool2d(feature, 2, ceil_mode=True, count_include_pad=False)
    if mask is None:
        return mean
    share = F.avg_pool2d(mask[:, None].to(feature), 2, ceil_mode=True, count_include_pad=False)
    return mean / share.clamp(min=0.25)


def cell_places(size: tuple[int, int], stride: int, extent: Tensor, channels: int) -> Tensor:
    """Encodings (B, H, W, channels) of where the cells of maps lie in their extents (B, 2) px."""
    H, W = size
    x = (torch.arange(W, device=extent.device, dtype=extent.dtype) + 0.5) * stride
    y = (torch.arange(H, device=extent.device, dtype=extent.dtype) + 0.5) * stride
    grid = torch.stack((x.expand(H, W), y[:, None].expand(H, W)), -1)
    return point_encoding(grid / extent[:, None, None], channels)


def enlarged(mask: Tensor, factor: int) -> Tensor:
    """Every cell of a mask (B, H, W) as factor x factor cells."""
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def fractions(points: Tensor, extent: Tensor) -> Tensor:
    """Points (B, N, 2) as fractions of the extent (B, 2), as `attention_ops` takes them."""
    return (points + 0.5) / extent[:, None]


def in_cells(points: Tensor, stride: int) -> Tensor:
    """Points (..., 2) in cells of a map: the middle of cell i is i."""
    return (points + 0.5) / stride - 0.5


def sample(feature: Tensor, cells: Tensor) -> Tensor:
    """Bilinear samples (B, N, P, C) of a map (B, C, H, W) at places (B, N, P, 2) in its cells.

    Zeros lie around the map.
    """
    H, W = feature.shape[-2:]
    grid = (2 * cells + 1) / xy(W, H, cells) - 1
    found = F.grid_sample(feature, grid.to(feature.dtype), align_corners=False)
    return found.permute(0, 2, 3, 1)


def square(side: int, like: Tensor) -> Tensor:
    """Places x, y (side * side, 2) of a square of cells from its middle, row by row."""
    steps = torch.arange(side, device=like.device, dtype=like.dtype) - (side - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)
