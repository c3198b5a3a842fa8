"""Attention to a grid of keys that the query map has deformed, the same keys for all queries.

Xia, Pan, Song, Li, Huang: "Vision Transformer with Deformable Attention", CVPR 2022, eq. 4-10
(DAT), with the offset network and range of its journal version, DAT++ (2023).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.biased import biased_attention, join_heads, split_heads
from attention_ops.mechanism import Kind, Mechanism
from attention_ops.reference_points import valid_extent, xy


class DeformedKeys(NamedTuple):
    """Where the keys of every group lie; N = B * groups, P = key rows * key columns."""

    position: Tensor  # (N, P, 2) x, y; -1 and 1 are the first and last valid cell of the source
    valid: Tensor  # (B, P) bool: the others come from padding of the query map


class DeformedAttention(Mechanism):
    """message = softmax(q k^T / sqrt(D) + bias) v, k and v linear in x(grid + offset(q)).

    The grid has one point per stride x stride query cells. offset = range * tanh(conv1x1(GELU(LN(
    dwconv(q))))) grid steps, each group of channels its own; bias(m, cell, key) = a table of head m,
    interpolated at half the way from key to cell. A grid of one row or column, where the paper
    divides by 0, has steps of the whole map.

    In a cross layer the grid and the ways are fractions of each map's own valid extent.

    Args:
        channels: C of both maps and of the message.
        heads: M, a multiple of `groups`.
        kind: "self" or "cross".
        stride: query cells per key along each side.
        kernel: side of the depthwise convolution, odd.
        groups: of channels that deform the grid in their own way.
        offset_range: largest offset in grid steps; negative: without bound, positions clamped to
            the map instead.
        position: "table" (the interpolated bias) or "none".
        table: (H, W), the map size that the table is for; others interpolate in it.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(  # noqa: PLR0913  its settings, each with a default
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        stride: int = 4,
        kernel: int = 5,
        groups: int = 1,
        offset_range: float = 2.0,
        position: str = "table",
        table: tuple[int, int] = (16, 16),
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        check_choice("position", position, ("table", "none"))
        if groups < 1 or heads % groups:
            raise ValueError(f"heads ({heads}) must divide into groups ({groups})")
        if kernel % 2 == 0 or kernel < 1 or stride < 1:
            raise ValueError(f"kernel must be odd, stride 1 or more, got {kernel} and {stride}")
        self.stride, self.kernel, self.groups = stride, kernel, groups
        self.offset_range = offset_range
        width = channels // groups
        self.offset_conv = nn.Conv2d(
            width, width, kernel, stride, padding=kernel // 2, groups=width
        )
        self.offset_norm = nn.LayerNorm(width)
        self.offset_out = nn.Linear(width, 2, bias=False)
        self.bias_table: nn.Parameter | None = None
        if position == "table":
            sides = 2 * table[0] - 1, 2 * table[1] - 1
            self.bias_table = nn.Parameter(
                nn.init.trunc_normal_(torch.empty(heads, *sides), std=0.01)
            )

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.gather`."""
        query = self.query(query_cells)
        if query_mask is not None:  # the convolution must see the same zeros as past the map's edge
            query = query.masked_fill(~query_mask[..., None], 0)
        extent = valid_extent(query_cells, query_mask)
        keys = self.keys(query, extent)
        sampled = self._sampled(source_cells, valid_extent(source_cells, source_mask), keys)
        q, k, v = (self._heads(x) for x in (query, self.key(sampled), self.value(sampled)))
        bias = None if self.bias_table is None else self._bias(query, extent, keys)
        valid = keys.valid
        if source_mask is not None:
            valid = valid & source_mask.flatten(1).any(1, keepdim=True)
        message = join_heads(biased_attention(q, k, v, bias, valid))
        return message.view(query_cells.shape)

    def keys(self, query: Tensor, extent: Tensor) -> DeformedKeys:
        """The deformed grid.

        Args:
            query: (B, H, W, C), projected, zeros under the mask.
            extent: (B, 2) width and height of its valid rectangle.
        """
        groups = query.permute(0, 3, 1, 2).unflatten(1, (self.groups, -1)).flatten(0, 1)
        hidden = self.offset_conv(groups).permute(0, 2, 3, 1)  # (N, h, w, C / groups)
        offset = self.offset_out(nn.functional.gelu(self.offset_norm(hidden)))
        offset = offset.to(torch.promote_types(offset.dtype, torch.float32))  # places need it
        h, w = offset.shape[1:3]
        # What the convolution would give for the valid rectangle alone.
        size = (extent - 1) // self.stride + 1  # (B, 2)
        column, row = (torch.arange(n, device=query.device) for n in (w, h))
        grid = torch.stack((column.expand(h, w), row[:, None].expand(h, w)), -1)
        valid = (grid < size[:, None, None]).all(3).flatten(1)
        steps = (size - 1).clamp(min=1).repeat_interleave(self.groups, 0)[:, None, None]
        reference = (grid + 0.5) / steps.to(offset.dtype) * 2 - 1
        if self.offset_range >= 0:
            position = reference + offset.tanh() * self.offset_range / steps
        else:
            position = (reference + offset).clamp(-1, 1)
        return DeformedKeys(position.flatten(1, 2), valid)

    def _sampled(self, cells: Tensor, extent: Tensor, keys: DeformedKeys) -> Tensor:
        """Source cells (B, P, C) at the keys; zeros lie around the map."""
        B, H, W, C = cells.shape
        maps = cells.permute(0, 3, 1, 2).unflatten(1, (self.groups, -1)).flatten(0, 1)
        last = (extent - 1).repeat_interleave(self.groups, 0)[:, None]
        at = (keys.position + 1) / 2 * last  # in cells
        grid = (2 * at + 1) / xy(W, H, at) - 1  # of grid_sample without align_corners
        sampled = nn.functional.grid_sample(
            maps.to(grid.dtype), grid[:, None], padding_mode="zeros", align_corners=False
        )
        return sampled.view(B, C, -1).transpose(1, 2).to(cells.dtype)

    def _heads(self, cells: Tensor) -> Tensor:
        return split_heads(cells if cells.dim() == 3 else cells.flatten(1, 2), self.heads)

    def _bias(self, query: Tensor, extent: Tensor, keys: DeformedKeys) -> Tensor:
        """Bias (B, M, L, P) of every query cell and key."""
        assert self.bias_table is not None
        B, H, W, _ = query.shape
        column, row = (torch.arange(n, device=query.device) for n in (W, H))
        cell = torch.stack((column.expand(H, W), row[:, None].expand(H, W)), -1).flatten(0, 1)
        place = cell / (extent - 1).clamp(min=1)[:, None].to(keys.position.dtype) * 2 - 1
        place = place.repeat_interleave(self.groups, 0)  # (N, L, 2)
        way = (place[:, :, None] - keys.position[:, None]) / 2  # (N, L, P, 2)
        table = self.bias_table.unflatten(0, (self.groups, -1)).repeat(B, 1, 1, 1)
        bias = nn.functional.grid_sample(table, way.to(table.dtype), align_corners=True)
        return bias.unflatten(0, (B, self.groups)).flatten(1, 2).to(query.dtype)
