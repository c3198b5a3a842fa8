"""Shifted-window attention, and its cross form: each window of the query map sees one of the source.

Liu et al.: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
sec. 3.2. The paper has self-attention only; the window of another image is defined here, by
`windows.aligned_origins`.
"""

import torch
from torch import Tensor, nn

from attention_ops.biased import biased_attention, join_heads, split_heads
from attention_ops.mechanism import Kind
from attention_ops.reference_points import PointedMechanism
from attention_ops.windows import (
    aligned_origins,
    cut_windows,
    gather_windows,
    join_windows,
    relative_index,
)


class WindowAttention(PointedMechanism):
    """message = softmax(q k^T / sqrt(D) + bias[query cell - key cell]) v inside windows (eq. 4).

    Shifted windows start half a window above and left of the map; the parts of a window that lie
    past the map are masked. That gives what the paper's cyclic shift with its mask gives, for a map
    of any size. Masked cells are left out, where the paper's code lets queries see its padding.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross"; "cross" takes reference points, and each window of the query map
            looks at the window of the source that lies at their mean.
        window: side of a window in cells.
        shifted: whether windows are moved by half a window; layers alternate.
        margin: cells that a window of keys is larger on each side.
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
        shifted: bool = False,
        margin: int = 0,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        if window < 1 or margin < 0:
            raise ValueError(
                f"window must be 1 or more and margin 0 or more, got {window}, {margin}"
            )
        self.window, self.margin = window, margin
        self.before = window - window // 2 if shifted and window > 1 else 0
        table = torch.empty((2 * (window + margin) - 1) ** 2, heads)
        self.bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

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
        queries, _ = cut_windows(self.query(query_cells), None, self.window, self.before)
        keys, values, valid = self._fine_keys(source_cells, source_mask, origin)
        message = self._attend(queries, keys, values, self._bias(), valid)
        size = query_cells.shape[1], query_cells.shape[2]
        return join_windows(message, size, self.window, self.before)

    def _origins(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None,
    ) -> Tensor:
        """First cell (B, ny, nx, 2) of the source window of every window of the query map."""
        if self.kind == "self" and reference is not None:
            raise ValueError(
                "reference points are for kind 'cross': windows of a map see themselves"
            )
        maps = (query_cells, source_cells, query_mask, source_mask)
        return aligned_origins(*maps, reference, self.window, self.before)

    def _fine_keys(
        self, source_cells: Tensor, source_mask: Tensor | None, origin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (B, ny, nx, S, C) of the windows with their margin, and their mask."""
        side = self.window + 2 * self.margin
        both = torch.cat((self.key(source_cells), self.value(source_cells)), 3)
        tokens, valid = gather_windows(both, source_mask, origin - self.margin, side)
        keys, values = tokens.chunk(2, 4)
        return keys, values, valid

    def _bias(self) -> Tensor:
        """Bias (M, window ** 2, S) of the fine keys."""
        index = relative_index(self.window, self.margin, self.bias_table.device)
        return self.bias_table[index].permute(2, 0, 1)

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, valid: Tensor
    ) -> Tensor:
        """Messages (B, ny, nx, window ** 2, C) to the queries of every window."""
        q, k, v = (split_heads(x.flatten(0, 2), self.heads) for x in (queries, keys, values))
        message = join_heads(biased_attention(q, k, v, bias.to(queries.dtype), valid.flatten(0, 2)))
        return message.view(queries.shape)
