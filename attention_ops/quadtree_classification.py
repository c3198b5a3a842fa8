"""The QuadTree attention of the classification backbone: values of coarser levels are learned.

Tang, Zhang, Zhu, Tan: "QuadTree Attention for Vision Transformers", ICLR 2022, sec. 4.3, the
backbones QuadTree-B-b0 .. b4; the branch is told by the authors' code only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_ops.mechanism import Kind
from attention_ops.pyramid import map_to_tokens, pad_to_multiple, tokens_to_map
from attention_ops.quadtree import QuadtreeAttention

NORM_EPS = 1e-5  # GroupNorm's: a map of equal cells would divide by zero


class QuadtreeClassification(QuadtreeAttention):
    """QuadTree attention whose value pyramid is made by `ValueBranch`; see `QuadtreeAttention`.

    A self layer adds the local position encoding to every level, a cross layer does not: its
    values lie in the other image.

    Args:
        channels: C of both maps and of the message.
        heads: M.
        kind: "self" or "cross".
        topk: tokens to select per level, coarsest first.
        variant: "A" or "B".
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        topk: Sequence[int] = (8, 8, 8),
        variant: str = "B",
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__(
            channels,
            heads,
            kind,
            topk=topk,
            variant=variant,
            position="lepe" if kind == "self" else "none",
            qkv_bias=qkv_bias,
            out_bias=out_bias,
        )
        self.branches = nn.ModuleList(ValueBranch(channels) for _ in self.topk[1:])

    def _value_levels(
        self, value: Tensor, mask: Tensor | None, masks: list[Tensor] | None
    ) -> list[Tensor]:
        side = 2 ** (self.levels - 1)
        cells, _ = pad_to_multiple(value, mask, (side, side))
        size = cells.shape[1], cells.shape[2]
        pyramid = [map_to_tokens(cells, self.levels, self.heads)]
        for step, branch in enumerate(self.branches):
            level = self.levels - 2 - step
            valid = None if masks is None else _mask_map(masks[level + 1], size, level + 2)
            cells = branch(cells, valid)
            size = size[0] // 2, size[1] // 2
            if masks is not None:
                above = _mask_map(masks[level], size, level + 1)
                cells = cells.masked_fill(~above[..., None], 0)
            pyramid.insert(0, map_to_tokens(cells, level + 1, self.heads))
        return pyramid


class ValueBranch(nn.Module):
    """conv1x1(gelu(norm(conv2x2(gelu(norm(x)))))), the norm over channels and all valid cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = MapNorm(channels)
        self.halve = nn.Conv2d(channels, channels, 2, stride=2)
        self.norm2 = MapNorm(channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, cells: Tensor, mask: Tensor | None) -> Tensor:
        """Values (B, H / 2, W / 2, C) of the next coarser level for values (B, H, W, C).

        Cells under the mask (B, H, W) count nowhere; what comes out for a parent without any
        valid child has no meaning.
        """
        hidden = nn.functional.gelu(self.norm1(cells, mask))
        if mask is not None:
            hidden = hidden.masked_fill(~mask[..., None], 0)
            mask = mask.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).any(4).any(2)
        hidden = self.halve(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        hidden = nn.functional.gelu(self.norm2(hidden, mask))
        mixed: Tensor = self.mix(hidden.permute(0, 3, 1, 2))
        return mixed.permute(0, 2, 3, 1)


class MapNorm(nn.Module):
    """GroupNorm with one group whose mean and variance are those of the valid cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, cells: Tensor, mask: Tensor | None) -> Tensor:
        """Normalises (B, H, W, C) over the cells where mask (B, H, W); the others stay finite."""
        if mask is None:
            channels_first = cells.permute(0, 3, 1, 2)
            normed = nn.functional.group_norm(channels_first, 1, self.weight, self.bias, NORM_EPS)
            return normed.permute(0, 2, 3, 1)
        shown = mask[..., None]
        count = (mask.sum((1, 2)) * cells.shape[3]).clamp(min=1)[:, None, None, None]
        mean = (cells * shown).sum((1, 2, 3), keepdim=True) / count
        centred = (cells - mean) * shown
        variance = centred.square().sum((1, 2, 3), keepdim=True) / count
        return centred * (variance + NORM_EPS).rsqrt() * self.weight + self.bias


def _mask_map(mask: Tensor, size: tuple[int, int], levels: int) -> Tensor:
    """A mask of tokens (B, L) as a map (B, H, W) with (H, W) = size."""
    cells = tokens_to_map(mask[:, None, :, None], size, levels)
    return cells[..., 0]
