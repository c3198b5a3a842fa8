"""What every attention mechanism shares: the contract over two maps, projections, masks."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from attention_ops._checks import check_choice, check_mask, check_shape

Kind = Literal["self", "cross"]


class Mechanism(nn.Module):
    """Attention from a query map to a source map; a subclass says how messages are made.

    A masked cell is never read: whatever it holds, NaN too, changes no message of a valid cell
    and no gradient, and its own message is 0.

    Args:
        channels: C of both maps and of the message.
        heads: M, a divisor of `channels`.
        kind: "self" or "cross", what the layer is used for; never inferred from the maps.
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    projections: ClassVar[tuple[str, ...]] = ("query", "key", "value")  # the linear layers it has
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        qkv_bias: bool = False,
        out_bias: bool = True,
    ) -> None:
        super().__init__()
        check_choice("kind", kind, ("self", "cross"))
        if heads < 1 or channels % heads:
            raise ValueError(f"channels ({channels}) must divide into heads ({heads})")
        self.heads = heads
        self.kind = kind
        for name in self.projections:
            self.add_module(name, nn.Linear(channels, channels, bias=qkv_bias))
        self.out = nn.Linear(channels, channels, bias=out_bias)

    def forward(
        self,
        query_map: Tensor,
        source_map: Tensor,
        query_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """The message to every cell of the query map.

        Args:
            query_map: (B, C, H, W), any memory format; channels_last saves a copy.
            source_map: (B, C, Hs, Ws).
            query_mask: (B, H, W) bool, True = valid, or None.
            source_mask: (B, Hs, Ws) bool, True = valid, or None.

        Returns:
            (B, C, H, W) in channels_last format.
        """
        check_maps(query_map, source_map, query_mask, source_mask, self.out.in_features)
        query_cells = masked_cells(query_map, query_mask)
        source_cells = masked_cells(source_map, source_mask)
        message = self.gather(query_cells, source_cells, query_mask, source_mask)
        return message_map(self.out(message), query_mask)

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """Messages (B, H, W, C) before the output projection.

        Args:
            query_cells: (B, H, W, C) with zeros under the mask.
            source_cells: (B, Hs, Ws, C) with zeros under the mask.
            query_mask: (B, H, W) bool, True = valid, or None.
            source_mask: (B, Hs, Ws) bool, or None.
        """
        query, key = self.query(query_cells), self.key(source_cells)
        return self.attend(query, key, self.value(source_cells), query_mask, source_mask)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        """Messages (B, H, W, C) for projected maps, whose masked cells are finite.

        Args:
            query: (B, H, W, C).
            key: (B, Hs, Ws, C).
            value: (B, Hs, Ws, C).
            query_mask: (B, H, W) bool, True = valid, or None; what is masked may be given any finite
                message.
            source_mask: (B, Hs, Ws) bool, or None.
        """
        raise NotImplementedError


def check_maps(
    query_map: Tensor,
    source_map: Tensor,
    query_mask: Tensor | None,
    source_mask: Tensor | None,
    channels: int,
) -> None:
    """Checks the arguments that every mechanism takes.

    Raises:
        ValueError: a shape is wrong; the message names the argument, the wanted and the found.
        TypeError: a mask is not bool.
    """
    sizes = check_shape("query_map", query_map, "B C H W", {"C": channels})
    sizes = check_shape("source_map", source_map, "B C Hs Ws", sizes)
    check_mask("query_mask", query_mask, "B H W", sizes)
    check_mask("source_mask", source_mask, "B Hs Ws", sizes)


def check_rows(query_map: Tensor, source_map: Tensor) -> None:
    """Raises ValueError unless both maps, (B, C, H, W) and (B, C, Hs, Ws), are equally high."""
    if query_map.shape[2] != source_map.shape[2]:
        raise ValueError(
            f"maps must have the same number of rows, got {query_map.shape[2]} and "
            f"{source_map.shape[2]}; rectify the pair"
        )


def masked_cells(feature: Tensor, mask: Tensor | None) -> Tensor:
    """A map with channels last and zeros under its mask: (B, C, H, W) -> (B, H, W, C)."""
    cells = feature.permute(0, 2, 3, 1)
    return cells if mask is None else cells.masked_fill(~mask[..., None], 0)


def message_map(message: Tensor, mask: Tensor | None) -> Tensor:
    """A message (B, H, W, C) as a map (B, C, H, W), zeros under the mask of the queries."""
    if mask is not None:
        message = message.masked_fill(~mask[..., None], 0)
    return message.permute(0, 3, 1, 2)


def flat_heads(cells: Tensor, heads: int) -> Tensor:
    """Tokens per head in raster order: (B, H, W, C) -> (B, L, M, D)."""
    tokens: Tensor = cells.flatten(1, 2).unflatten(2, (heads, -1))
    return tokens
