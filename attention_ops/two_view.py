"""Transformer over two maps: encoder layers around a mechanism, self and cross in turn.

Maps stay (B, C, H, W) in channels_last format, so that linear layers see (B, H, W, C) without a
copy. Both images go through the same weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_ops._checks import check_choice
from attention_ops.mechanism import Mechanism, masked_cells


class LoftrLayer(nn.Module):
    """Encoder layer of LoFTR (Sun et al. 2021): the message is normalised, then mixed in.

    message = norm1(attention(x, source)); x + norm2(mlp([x, message])).

    Args:
        attention: the mechanism, with its output projection.
        channels: C of the maps.
    """

    def __init__(self, attention: Mechanism, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.norm1 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels, 2 * channels, bias=False),
            nn.ReLU(),
            nn.Linear(2 * channels, channels, bias=False),
        )
        self.norm2 = nn.LayerNorm(channels)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """`x` as updated from `source`.

        Args:
            x: (B, C, H, W).
            source: (B, C, Hs, Ws).
            mask: (B, H, W) bool, True = valid, or None.
            source_mask: (B, Hs, Ws) bool, or None.

        Returns:
            (B, C, H, W).
        """
        message = self.attention(x, source, mask, source_mask).permute(0, 2, 3, 1)
        cells = x.permute(0, 2, 3, 1)
        mixed = self.mlp(torch.cat([cells, self.norm1(message)], -1))
        updated: Tensor = cells + self.norm2(mixed)
        return updated.permute(0, 3, 1, 2)


class QuadtreeBlock(nn.Module):
    """Pre-norm block of QuadTree attention's matcher (Tang et al. 2022) with a convolution inside.

    x += attention(norm1(x), norm1(source)); x += fc2(gelu(conv3x3(relu(fc1(norm2(x)))))), the
    convolution depthwise.

    Args:
        attention: the mechanism, with its output projection.
        channels: C of the maps.
        mlp_ratio: width of the hidden layer over C.
    """

    def __init__(self, attention: Mechanism, channels: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = round(channels * mlp_ratio)
        self.attention = attention
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """`x` as updated from `source`.

        Args:
            x: (B, C, H, W).
            source: (B, C, Hs, Ws).
            mask: (B, H, W) bool, True = valid, or None.
            source_mask: (B, Hs, Ws) bool, or None.

        Returns:
            (B, C, H, W).
        """
        normed = self._norm(x)
        normed_source = normed if source is x else self._norm(source)
        x = x + self.attention(normed, normed_source, mask, source_mask)
        return x + self._mlp(x, mask)

    def _norm(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm1(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)

    def _mlp(self, x: Tensor, mask: Tensor | None) -> Tensor:
        hidden = nn.functional.relu(self.fc1(self.norm2(x.permute(0, 2, 3, 1))))
        hidden = hidden.permute(0, 3, 1, 2)
        if mask is not None:  # the convolution must see the same zeros as past the map's edge
            hidden = hidden.masked_fill(~mask[:, None], 0)
        hidden = nn.functional.gelu(self.conv(hidden)).permute(0, 2, 3, 1)
        update: Tensor = self.fc2(hidden)
        return update.permute(0, 3, 1, 2)


class TwoViewTransformer(nn.Module):
    """Applies layers to two maps in turn, each layer to both with the same weights.

    Args:
        layers: called as layer(x, source, mask, source_mask).
        kinds: "self" or "cross" for each layer.
        simultaneous: in a cross layer both maps attend to the other as it was before the layer,
            so that swapping the images swaps the result exactly (QuadTree attention); False:
            map 1 attends to map 0 as just updated (LoFTR).
    """

    def __init__(
        self, layers: Sequence[nn.Module], kinds: Sequence[str], simultaneous: bool = True
    ) -> None:
        super().__init__()
        if len(layers) != len(kinds):
            raise ValueError(f"kinds must have one entry per layer ({len(layers)}), got {kinds}")
        for kind in kinds:
            check_choice("kind", kind, ("self", "cross"))
        self.layers = nn.ModuleList(layers)
        self.kinds = tuple(kinds)
        self.simultaneous = simultaneous

    def forward(
        self,
        map0: Tensor,
        map1: Tensor,
        mask0: Tensor | None = None,
        mask1: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Both maps as updated, in their shapes.

        Args:
            map0: (B, C, H0, W0).
            map1: (B, C, H1, W1).
            mask0: (B, H0, W0) bool, True = valid, or None.
            mask1: (B, H1, W1) bool, or None.
        """
        map0 = masked_cells(map0, mask0).permute(0, 3, 1, 2)
        map1 = masked_cells(map1, mask1).permute(0, 3, 1, 2)
        for layer, kind in zip(self.layers, self.kinds, strict=True):
            if kind == "self":
                map0, map1 = layer(map0, map0, mask0, mask0), layer(map1, map1, mask1, mask1)
            elif self.simultaneous:
                map0, map1 = layer(map0, map1, mask0, mask1), layer(map1, map0, mask1, mask0)
            else:
                map0 = layer(map0, map1, mask0, mask1)
                map1 = layer(map1, map0, mask1, mask0)
        return map0, map1
