"""STTR's transformer: self- and cross-attention along the rows of both views in turn.

Li et al. 2021, sec. 3.2. The attention is given by the caller; what is asymmetric (the right view
is updated first, only the left one is masked) is here.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attention_ops.relative_rows import RelativeRowAttention


class SelfLayer(nn.Module):
    """Rows attend to themselves."""

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.norm1 = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Updates tokens (R, W, C); table (2 W - 1, C) of distances."""
        normed = self.norm1(tokens)
        updated: Tensor = tokens + self.attention(normed, normed, table)
        return updated


class CrossLayer(nn.Module):
    """Rows of either view attend to those of the other: the right view first, then the left.

    The left view thus sees the right one as just updated, through a norm of its own.
    """

    def __init__(self, attention: nn.Module, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, left: Tensor, right: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Updates left and right (R, W, C); table (2 W - 1, C) of distances seen from the left."""
        query, source, right = self.update_right(left, right, table)
        return left + self.attention(query, source, table), right

    def update_right(
        self, left: Tensor, right: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the left view asks with, what it asks, and the updated right view, (R, W, C) all."""
        normed = self.norm1(left)
        right = right + self.attention(self.norm1(right), normed, table.flip(0))
        return normed, self.norm2(right), right


class RowTransformer(nn.Module):
    """Layers of self- and cross-attention; the last one's raw logits are the result.

    Args:
        channels: C of the tokens.
        attentions: makes the attention of a layer, called as attention(tokens, source, table); the
            last layer needs the full one, for its logits.
        layers: of each kind, the self layer of a pair first.
        last: full attention of the last cross layer.
    """

    def __init__(
        self,
        channels: int,
        attentions: Callable[[], nn.Module],
        layers: int,
        last: RelativeRowAttention,
    ) -> None:
        super().__init__()
        made = [*(attentions() for _ in range(layers - 1)), last]
        self.self_layers = nn.ModuleList(SelfLayer(attentions(), channels) for _ in range(layers))
        self.cross_layers = nn.ModuleList(CrossLayer(attention, channels) for attention in made)

    def forward(self, left: Tensor, right: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layer's logits are made of: queries and sources, (R, W, C) both.

        The message of the last layer to the left view is never used, so it is not computed.

        Args:
            left: tokens (R, W, C) of the left view, its rows in any order.
            right: those of the right view in the same order.
            table: (2 W - 1, C) of `distance_sines`.
        """
        R = len(left)
        for index, (own, cross) in enumerate(
            zip(self.self_layers, self.cross_layers, strict=True), start=1
        ):
            left, right = own(torch.cat([left, right]), table).split(R)
            if index < len(self.self_layers):
                left, right = cross(left, right, table)
        query, source, _ = self._last.update_right(left, right, table)
        return query, source

    def logits(self, query: Tensor, source: Tensor, table: Tensor) -> Tensor:
        """Raw logits (R, W, W) of left against right columns, summed over heads.

        Minus infinity where the right column is further right than the left one. Rows may be fewer
        than `forward` gave: see `chunks`.
        """
        return self._full.logits(query, source, table, causal=True)

    def chunks(self, query: Tensor, source: Tensor) -> list[slice]:
        """Rows to be passed to `logits` together."""
        return self._full.chunks(query, source)

    @property
    def _last(self) -> CrossLayer:
        last = self.cross_layers[-1]
        assert isinstance(last, CrossLayer)
        return last

    @property
    def _full(self) -> RelativeRowAttention:
        attention = self._last.attention
        assert isinstance(attention, RelativeRowAttention)
        return attention
