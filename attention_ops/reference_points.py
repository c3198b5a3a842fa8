"""Where in the source a query cell points: points, the extent they are fractions of, their encoding.

A reference point is x, y as a fraction of the valid extent of the source map: (0, 0) is its outer
top left corner, (1, 1) the outer bottom right one, cell i of W has its centre at (i + 0.5) / W.
The valid extent is the rectangle from the top left corner to the last valid row and column, so
that padding at the bottom and right moves no point.
"""

import math

import torch
from torch import Tensor

from attention_ops._checks import check_shape
from attention_ops.mechanism import Mechanism, check_maps, masked_cells, message_map

TEMPERATURE = 10000.0  # of the sine encoding: longest wave over shortest (DETR)


def valid_extent(cells: Tensor, mask: Tensor | None) -> Tensor:
    """Width and height of the valid rectangle, (B, 2) int64 and at least 1, of maps (B, H, W, C)."""
    B, H, W = cells.shape[:3]
    column = torch.arange(1, W + 1, device=cells.device)
    if mask is None:
        return xy(W, H, column).expand(B, 2)
    row = torch.arange(1, H + 1, device=cells.device)
    width = (mask.any(1) * column).amax(1)
    height = (mask.any(2) * row).amax(1)
    return torch.stack((width, height), 1).clamp(min=1)


def xy(x: float, y: float, like: Tensor) -> Tensor:
    """The numbers x, y as (2,) in the dtype of `like`, filled in on its device.

    A list would be sent there, for which the host waits; CUDA graphs cannot capture it.
    """
    return torch.stack([like.new_full((), x), like.new_full((), y)])


def own_points(cells: Tensor, mask: Tensor | None) -> Tensor:
    """The centres (B, H, W, 2) of the cells of a map, as fractions of its valid extent.

    The estimate of a match when nothing is known: the same place in the other image.

    Args:
        cells: (B, H, W, C); only its shape, dtype and device are used.
        mask: (B, H, W) bool, True = valid, or None.
    """
    H, W = cells.shape[1:3]
    wide = torch.promote_types(cells.dtype, torch.float32)
    x = torch.arange(W, device=cells.device, dtype=wide) + 0.5
    y = torch.arange(H, device=cells.device, dtype=wide) + 0.5
    grid = torch.stack((x.expand(H, W), y[:, None].expand(H, W)), -1)
    return grid / valid_extent(cells, mask)[:, None, None]


def point_encoding(points: Tensor, channels: int) -> Tensor:
    """Sines and cosines of y, then of x (DETR, Carion et al. 2020, appendix A.4).

    Channel 2k of each half is sin(2 pi p / TEMPERATURE ** (4 k / channels)), 2k + 1 its cosine,
    as Conditional DETR's official code has it for its reference points.

    Args:
        points: (..., 2) x, y, fractions of the extent.
        channels: a multiple of 4.

    Returns:
        (..., channels) in the dtype of the points.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")
    k = torch.arange(channels // 4, device=points.device, dtype=points.dtype)
    angle = 2 * math.pi * points[..., None] * TEMPERATURE ** (-4 * k / channels)  # (..., 2, C / 4)
    waves = torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)  # (..., 2, C / 2)
    return torch.cat((waves[..., 1, :], waves[..., 0, :]), -1)


class PointedMechanism(Mechanism):
    """A mechanism that looks around, or encodes, a reference point of every query cell."""

    def forward(
        self,
        query_map: Tensor,
        source_map: Tensor,
        query_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """The message to every cell of the query map; see `Mechanism.forward`.

        Args:
            query_map: (B, C, H, W).
            source_map: (B, C, Hs, Ws).
            query_mask: (B, H, W) bool, True = valid, or None.
            source_mask: (B, Hs, Ws) bool, True = valid, or None.
            reference: (B, H, W, 2) x, y of the current estimate of each cell's match, as a
                fraction of the valid extent of the source; None: the same place as the cell's.

        Returns:
            (B, C, H, W) in channels_last format.
        """
        check_maps(query_map, source_map, query_mask, source_mask, self.out.in_features)
        query_cells = masked_cells(query_map, query_mask)
        source_cells = masked_cells(source_map, source_mask)
        if reference is not None:
            sizes = dict(zip("BHW", query_cells.shape, strict=False))
            check_shape("reference", reference, "B H W XY", sizes | {"XY": 2})
        if reference is not None and query_mask is not None:
            reference = reference.masked_fill(~query_mask[..., None], 0)
        message = self.gather(query_cells, source_cells, query_mask, source_mask, reference)
        return message_map(self.out(message), query_mask)

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `Mechanism.gather`; `reference` (B, H, W, 2) or None as in `forward`."""
        raise NotImplementedError
