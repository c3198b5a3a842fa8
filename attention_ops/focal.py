"""Focal attention: the window and its margin cell by cell, and wide surroundings in pooled cells.

Yang et al.: "Focal Self-attention for Local-Global Interactions in Vision Transformers",
NeurIPS 2021, sec. 3.2, with two levels as in all of the paper's networks. The cross form looks
around the aligned window of the source, see `windows.aligned_origins`.
"""

import torch
from torch import Tensor, nn

from attention_ops.mechanism import Kind
from attention_ops.pyramid import pad_to_multiple
from attention_ops.window import WindowAttention
from attention_ops.windows import cut_windows, gather_windows, join_windows


class FocalAttention(WindowAttention):
    """message = softmax(q [k1, k2]^T / sqrt(D) + [bias1, bias2]) [v1, v2] (eq. 1-3); `Mechanism`.

    k1, v1: the cells of the window and `margin` cells around it, bias1 by relative position.
    k2, v2: `regions` x `regions` cells around it of the map pooled by the size of a window, the
    pooling a learned weighted sum; bias2 by position, one for all queries of a window.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross"; "cross" takes reference points as `WindowAttention` does.
        window: side of a window in cells, and of what is pooled.
        margin: cells around the window that are seen one by one.
        regions: side of the surroundings in pooled cells, odd: the middle one has the window.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(  # noqa: PLR0913  its settings, each with a default
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        window: int = 7,
        margin: int = 3,
        regions: int = 7,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(
            channels,
            heads,
            kind,
            window=window,
            margin=margin,
            qkv_bias=qkv_bias,
            out_bias=out_bias,
        )
        if regions < 1 or regions % 2 == 0:
            raise ValueError(f"regions must be odd and positive, got {regions}")
        self.regions = regions
        self.pool = nn.Linear(window**2, 1)
        nn.init.constant_(self.pool.weight, 1 / window**2)  # the mean, as in the paper's code
        nn.init.zeros_(self.pool.bias)
        table = torch.empty(heads, regions**2)
        self.region_bias = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `PointedMechanism.gather`."""
        origin = self._origins(query_cells, source_cells, query_mask, source_mask, reference)
        queries, _ = cut_windows(self.query(query_cells), None, self.window)
        fine = self._fine_keys(source_cells, source_mask, origin)
        wide = self._wide_keys(source_cells, source_mask, origin)
        keys, values, valid = (torch.cat(pair, 3) for pair in zip(fine, wide, strict=True))
        region_bias = self.region_bias[:, None].expand(-1, self.window**2, -1)
        bias = torch.cat((self._bias(), region_bias), 2)
        message = self._attend(queries, keys, values, bias, valid)
        size = query_cells.shape[1], query_cells.shape[2]
        return join_windows(message, size, self.window)

    def _wide_keys(
        self, source_cells: Tensor, source_mask: Tensor | None, origin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (B, ny, nx, regions ** 2, C) of the pooled surroundings, their mask."""
        cells, mask = pad_to_multiple(source_cells, source_mask, (self.window, self.window))
        patches, valid = cut_windows(cells, mask, self.window)
        pooled = self.pool(patches.mT).squeeze(4)  # (B, ny, nx, C)
        both = torch.cat((self.key(pooled), self.value(pooled)), 3)
        # The pooled cell that has the middle of the window.
        middle = (2 * origin + self.window - 1).div(2 * self.window, rounding_mode="floor")
        first = middle - self.regions // 2
        tokens, seen = gather_windows(both, valid.any(3), first, self.regions)
        keys, values = tokens.chunk(2, 4)
        return keys, values, seen
