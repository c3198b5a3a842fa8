"""Deformable and multi-scale deformable attention: each query says where it looks, and how much.

Zhu et al.: "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
eq. 2 (one map) and eq. 3 (several).
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from attention_ops._checks import check_shape
from attention_ops.mechanism import Kind
from attention_ops.pyramid import pad_to_multiple
from attention_ops.reference_points import PointedMechanism, own_points, valid_extent, xy
from attention_ops.sampling import sample_weighted


class DeformableAttention(PointedMechanism):
    """message = sum over l, k of A[l, k] * value_l(p + offset[l, k]) per head; see `Mechanism`.

    Offsets, in cells of level l, and A = softmax over all l, k are linear in the query; there are
    no keys. p is the reference point: without one, a cell looks around its own place in the
    source; across two images it is the current estimate of the match.

    With more than one level the source map is halved by masked means; `gather_tokens` takes the
    maps of a feature pyramid instead.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        levels: maps that are sampled, L.
        points: samples per head and level, K.
        qkv_bias: bias of the value projection.
        out_bias: bias of the output projection.
    """

    projections: ClassVar[tuple[str, ...]] = ("value",)

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        levels: int = 1,
        points: int = 4,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        if levels < 1 or points < 1:
            raise ValueError(f"levels and points must be 1 or more, got {levels} and {points}")
        self.levels, self.points = levels, points
        self.offset = nn.Linear(channels, heads * levels * points * 2)
        self.weight = nn.Linear(channels, heads * levels * points)
        self.reset_looks()

    @torch.no_grad()
    def reset_looks(self) -> None:
        """Offsets in rings whatever the query, and equal weights (Zhu et al. 2021, sec. 4.1).

        Head m looks in the direction 2 pi m / M, its point k at k + 1 cells by the larger axis.
        """
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        distance = torch.arange(1, self.points + 1)[None, None, :, None]
        ring = direction[:, None, None] * distance  # (M, 1, K, 2)
        self.offset.bias.copy_(ring.expand(-1, self.levels, -1, -1).flatten())

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `PointedMechanism.gather`."""
        if reference is None:
            reference = own_points(query_cells, query_mask)
        cells, masks = _halved(source_cells, source_mask, self.levels)
        cell = reference * valid_extent(source_cells, source_mask)[:, None, None]  # of level 0
        stride = 2 ** torch.arange(self.levels, device=cell.device)[:, None]
        sides = torch.stack([xy(x.shape[2], x.shape[1], stride) for x in cells])
        at = cell.flatten(1, 2)[:, :, None] / (stride * sides)  # (B, Q, L, 2)
        message = self._sampled(query_cells.flatten(1, 2), at, cells, masks)
        return message.view(query_cells.shape)

    def gather_tokens(
        self,
        query: Tensor,
        reference: Tensor,
        sources: Sequence[Tensor],
        masks: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Messages to query tokens from the maps of a pyramid, output projection included.

        Args:
            query: (B, Q, C).
            reference: (B, Q, L, 2) x, y as fractions of each whole map (multiply points that are
                fractions of the valid extent by its share of the map), or (B, Q, L, 4) x, y,
                width, height of a box whose halves the offsets are measured in.
            sources: L maps (B, H, W, C).
            masks: their masks (B, H, W) bool, True = valid, or None.

        Returns:
            (B, Q, C).
        """
        if len(sources) != self.levels:
            raise ValueError(f"sources must be {self.levels} maps, got {len(sources)}")
        sizes = check_shape("query", query, "B Q C")
        width = 4 if reference.shape[-1] == 4 else 2
        known = sizes | {"L": self.levels, "XY": width}
        check_shape("reference", reference, "B Q L XY", known)
        given = [None] * self.levels if masks is None else list(masks)
        message: Tensor = self.out(self._sampled(query, reference, sources, given))
        return message

    def _sampled(
        self,
        query: Tensor,
        reference: Tensor,
        sources: Sequence[Tensor],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        """Messages (B, Q, C) before the output projection."""
        looks = (self.heads, self.levels, self.points)
        offset = self.offset(query).unflatten(2, (*looks, 2))
        weight = self.weight(query).unflatten(2, (self.heads, -1)).softmax(3)
        weight = weight.unflatten(3, looks[1:])
        sizes = [(x.shape[1], x.shape[2]) for x in sources]
        if reference.shape[-1] == 4:
            scale = reference[..., 2:] * (0.5 / self.points)
        else:
            scale = 1 / torch.stack([xy(W, H, reference) for H, W in sizes])
            scale = scale.expand(*reference.shape[:2], -1, -1)
        location = reference[:, :, None, :, None, :2] + offset * scale[:, :, None, :, None]
        values = [self._values(x, mask) for x, mask in zip(sources, masks, strict=True)]
        value = torch.cat(values, 1).unflatten(2, (self.heads, -1))
        return sample_weighted(value, sizes, location, weight).flatten(2)

    def _values(self, cells: Tensor, mask: Tensor | None) -> Tensor:
        """Values (B, H * W, C), zeros under the mask: as past the edge of the map."""
        value: Tensor = self.value(cells)
        if mask is not None:
            value = value.masked_fill(~mask[..., None], 0)
        return value.flatten(1, 2)


class MultiscaleDeformableAttention(DeformableAttention):
    """`DeformableAttention` over three levels."""

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        levels: int = 3,
        points: int = 4,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(
            channels,
            heads,
            kind,
            levels=levels,
            points=points,
            qkv_bias=qkv_bias,
            out_bias=out_bias,
        )


def _halved(
    cells: Tensor, mask: Tensor | None, levels: int
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Maps (B, H, W, C) and masks, each half as large as the one before: means of valid cells."""
    maps: list[Tensor] = [cells]
    masks: list[Tensor | None] = [mask]
    for _ in range(levels - 1):
        cells, mask = pad_to_multiple(cells, mask, (2, 2))
        fours = cells.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h, 2, w, 2, C)
        if mask is None:
            cells = fours.mean((2, 4))
        else:
            valid = mask.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))[..., None]
            total = fours.masked_fill(~valid, 0).sum((2, 4))
            count = valid.sum((2, 4))
            cells, mask = total / count.clamp(min=1), (count > 0)[..., 0]
        maps.append(cells)
        masks.append(mask)
    return maps, masks
