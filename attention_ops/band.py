"""QuadTree attention between two maps, restricted to a band of rows round each query.

For pairs that are only nearly rectified: the tree is the 2-D one of `quadtree`, but a query looks at a
strip of the source a few rows higher than its own. Cells carry no relative position here.
"""

from typing import Any

from torch import Tensor, nn

from attention_ops.mechanism import Kind, check_maps, check_rows
from attention_ops.quadtree import QuadtreeAttention


class BandQuadtree(QuadtreeAttention):
    """QuadTree attention in strips: O(L * topk), and memory does not grow with the square of H.

    The query map is cut into strips of 2 * band rows; each attends to the source rows from `band`
    above its first to `band` below its last. So every row sees at least `band` rows each way, and
    at most 3 * band - 1.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        band: rows that a row sees at least, above and below.
        settings: those of `QuadtreeAttention`, without position and value pyramid.
    """

    def __init__(
        self, channels: int, heads: int, kind: Kind, *, band: int = 4, **settings: Any
    ) -> None:
        super().__init__(channels, heads, kind, **settings)
        if band < 1:
            raise ValueError(f"band must be 1 row or more, got {band}")
        if self.lepe is not None or self.value_steps is not None:
            raise ValueError(
                "a band has no position encoding and no value pyramid of its own: strips would "
                "show at their seams; use position='none' and value_pyramid='pool'"
            )
        self.band = band

    def forward(
        self,
        query_map: Tensor,
        source_map: Tensor,
        query_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """See `Mechanism.forward`; both maps must have the same number of rows."""
        check_maps(query_map, source_map, query_mask, source_mask, self.query.in_features)
        check_rows(query_map, source_map)
        B, _, H, _ = query_map.shape
        if source_mask is None:
            source_mask = source_map.new_ones(B, H, source_map.shape[3]).bool()
        own = None if query_mask is None else _strips(query_mask[:, None], self.band, 0)[:, 0]
        message = super().forward(
            _strips(query_map, self.band, 0),
            _strips(source_map, self.band, self.band),
            own,
            _strips(source_mask[:, None], self.band, self.band)[:, 0],
        )
        whole = message.unflatten(0, (B, -1)).transpose(1, 2).flatten(2, 3)  # (B, C, rows, W)
        return whole[:, :, :H]


def _strips(feature: Tensor, band: int, margin: int) -> Tensor:
    """Strips of 2 * band rows of a map (B, C, H, W), with `margin` rows more on either side.

    Returns:
        (B * strips, C, 2 * band + 2 * margin, W); zeros, False in a mask, beyond the map.
    """
    H, height = feature.shape[2], 2 * band
    below = (H + height - 1) // height * height - H
    padded = nn.functional.pad(feature, (0, 0, margin, below + margin))
    windows = padded.unfold(2, height + 2 * margin, height)  # (B, C, strips, W, rows)
    return windows.permute(0, 2, 1, 4, 3).flatten(0, 1)
