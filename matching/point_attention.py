"""Attention from points to the maps of an image: four mechanisms of attention_ops behind one call.

A point asks alone: its message does not depend on which other points are asked for, as in COTR (Jiang
et al., "COTR: Correspondence Transformer for Matching Across Images", ICCV 2021, sec. 3.2).
"""

from typing import Any

import torch
from torch import Tensor, nn

from attention_ops import DeformableAttention, PointedMechanism, build_attention, point_encoding
from attention_ops.reference_points import xy
from matching.config import Kind
from matching.point_config import DecoderAttention
from matching.point_maps import COARSE_STRIDE, STRIDES, Pyramid, cell_places, fractions

MECHANISMS: dict[DecoderAttention, str] = {
    "full": "detr",
    "conditional": "conditional",
    "deformable": "multiscale_deformable",
    "quadtree": "quadtree",
}
TOPK = (8, 8)  # of the quadtree: two levels, so that a point is a block of 2 x 2 equal queries
BLOCK = 2 ** (len(TOPK) - 1)
ALIKE_GAIN = 2.0  # of queries and keys that start alike: cosines become scores of a few units


class PointAttention(nn.Module):
    """Messages to points from one image.

    Deformable attention reads all maps of the pyramid, the others the coarse one.

    Args:
        name: of the mechanism.
        channels: C of the queries and of the maps.
        heads: M.
        kind: "self" for the image that the points lie in, "cross" for the other.
        first: whether this is in the first layer of the decoder.
    """

    def __init__(
        self, name: DecoderAttention, channels: int, heads: int, kind: Kind, *, first: bool
    ) -> None:
        super().__init__()
        settings: dict[str, Any] = {}
        if name == "conditional":
            settings = {"first": first}
        elif name == "deformable":
            settings = {"levels": len(STRIDES)}
        elif name == "quadtree":
            settings = {"topk": TOPK}
        self.mechanism = build_attention(MECHANISMS[name], channels, heads, kind, **settings)

    @torch.no_grad()
    def start_alike(self) -> None:
        """Scores start as inner products of queries and cells; deformable attention has no keys."""
        if isinstance(self.mechanism, DeformableAttention):
            return
        for projection in (self.mechanism.query, self.mechanism.key):
            projection.weight.copy_(ALIKE_GAIN * torch.eye(len(projection.weight)))
            if projection.bias is not None:
                projection.bias.zero_()

    def forward(self, query: Tensor, points: Tensor, pyramid: Pyramid) -> Tensor:
        """Messages (B, N, C) to queries (B, N, C) that look from or around points (B, N, 2) px."""
        if isinstance(self.mechanism, DeformableAttention):
            reference = _on_every_map(points, pyramid)
            return self.mechanism.gather_tokens(query, reference, pyramid.maps, pyramid.masks)
        cells, mask = pyramid.coarse, pyramid.coarse_mask
        reference = fractions(points, pyramid.extent)
        if isinstance(self.mechanism, PointedMechanism):
            asked = query.mT[:, :, None]  # (B, C, 1, N)
            message = self.mechanism(
                asked, cells.permute(0, 3, 1, 2), None, mask, reference[:, None]
            )
            return message[:, :, 0].mT
        # Quadtree attention knows no points: places are added to what is compared.
        place = point_encoding(reference, query.shape[-1]).to(query.dtype)
        asked = (query + place).mT[:, :, None]
        blocks = asked.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)
        size = (cells.shape[1], cells.shape[2])
        placed = cells + cell_places(size, COARSE_STRIDE, pyramid.extent, cells.shape[3])
        message = self.mechanism(blocks, placed.permute(0, 3, 1, 2), None, mask)
        return message[:, :, 0, ::BLOCK].mT


def _on_every_map(points: Tensor, pyramid: Pyramid) -> Tensor:
    """Points (B, N, 2) as fractions of each whole map, (B, N, maps, 2)."""
    pixels = [
        xy(stride * cells.shape[2], stride * cells.shape[1], points)
        for stride, cells in zip(STRIDES, pyramid.maps, strict=True)
    ]
    return (points[:, :, None] + 0.5) / torch.stack(pixels)
