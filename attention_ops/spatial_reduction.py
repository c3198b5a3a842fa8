"""Spatial-reduction attention: full attention to a source map that was made small first.

Wang et al.: "Pyramid Vision Transformer", ICCV 2021, eq. 1-3 (PVT); Wang et al.: "PVT v2:
Improved Baselines with Pyramid Vision Transformer", 2022, sec. 3.1 (linear: pooled to 7 x 7).
"""

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.mechanism import Kind
from attention_ops.pyramid import pad_to_multiple
from attention_ops.reference_points import valid_extent
from attention_ops.softmax import SoftmaxAttention


class SpatialReductionAttention(SoftmaxAttention):
    """message = softmax(q k^T / sqrt(D)) v with k, v from reduce(source); see `Mechanism`.

    "conv": reduce(x) = LN(conv(x)), the convolution of size and stride `ratio` (PVT). A map that
    is no multiple of `ratio` is filled up with masked cells, where the paper's code drops the rest.
    "pool": reduce(x) = GELU(LN(conv1x1(mean over pool_size x pool_size bins))) (PVT v2 linear).

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        ratio: side of a patch that becomes one key, in cells; "conv" only.
        reduction: "conv" or "pool".
        pool_size: bins along each side; "pool" only.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(  # noqa: PLR0913  its settings, each with a default
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        ratio: int = 4,
        reduction: str = "conv",
        pool_size: int = 7,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        check_choice("reduction", reduction, ("conv", "pool"))
        if ratio < 1 or pool_size < 1:
            raise ValueError(f"ratio and pool_size must be 1 or more, got {ratio} and {pool_size}")
        self.reduction, self.ratio, self.pool_size = reduction, ratio, pool_size
        side = ratio if reduction == "conv" else 1
        self.reduce = nn.Conv2d(channels, channels, side, stride=side)
        self.norm = nn.LayerNorm(channels)

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """See `Mechanism.gather`."""
        small, mask = self._reduced(source_cells, source_mask)
        query = self.query(query_cells)
        return self.attend(query, self.key(small), self.value(small), query_mask, mask)

    def _reduced(self, cells: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The small map (B, h, w, C) and its mask."""
        if self.reduction == "pool":
            cells, mask = pooled_bins(cells, mask, self.pool_size)
            convolved = self.reduce(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return nn.functional.gelu(self.norm(convolved)), mask
        cells, mask = pad_to_multiple(cells, mask, (self.ratio, self.ratio))
        convolved = self.reduce(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if mask is not None:
            mask = mask.unflatten(2, (-1, self.ratio)).unflatten(1, (-1, self.ratio)).any(4).any(2)
        return self.norm(convolved), mask


def pooled_bins(cells: Tensor, mask: Tensor | None, bins: int) -> tuple[Tensor, Tensor]:
    """Mean of the valid cells in each of bins x bins parts of the valid extent.

    Bin i of a side of n cells has the cells floor(i n / bins) .. ceil((i + 1) n / bins) - 1.

    Returns:
        (B, bins, bins, C), zeros in a bin without valid cells, and the mask (B, bins, bins).
    """
    H, W = cells.shape[1:3]
    extent = valid_extent(cells, mask)
    rows = _members(extent[:, 1], H, bins).to(cells.dtype)  # (B, bins, H)
    columns = _members(extent[:, 0], W, bins).to(cells.dtype)
    weight = cells.new_ones(cells.shape[:3]) if mask is None else mask.to(cells.dtype)
    total = torch.einsum("bih,bhwc->biwc", rows, cells)
    total = torch.einsum("bjw,biwc->bijc", columns, total)
    count = (rows @ weight @ columns.mT)[..., None]  # (B, bins, bins, 1)
    return total / count.clamp(min=1), count[..., 0] > 0


def _members(side: Tensor, length: int, bins: int) -> Tensor:
    """Which of `length` cells belong to each bin: (B,) sides -> (B, bins, length) bool."""
    i = torch.arange(bins, device=side.device)
    first = i * side[:, None] // bins
    last = ((i + 1) * side[:, None] + bins - 1) // bins
    cell = torch.arange(length, device=side.device)
    return (cell >= first[..., None]) & (cell < last[..., None])
