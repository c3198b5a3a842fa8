"""Cross-attention of detection decoders: queries and keys of content and of place.

DETR: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, appendix A.3.
Conditional DETR: Meng et al., "Conditional DETR for Fast Training Convergence", ICCV 2021, sec. 3.3.
"""

import torch
from torch import Tensor, nn

from attention_ops.biased import biased_attention, join_heads, split_heads
from attention_ops.mechanism import Kind
from attention_ops.reference_points import PointedMechanism, own_points, point_encoding


class DetrAttention(PointedMechanism):
    """message = softmax(Wq (x + p) (Wk (y + s))^T / sqrt(D)) Wv y; see `PointedMechanism`.

    p and s are sine encodings of the reference point of x and of the place of y.

    Args:
        channels: C of both maps and of the message, a multiple of 4.
        heads: M.
        kind: "self" or "cross".
        qkv_bias: bias of the query, key and value projections.
        out_bias: bias of the output projection.
    """

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `PointedMechanism.gather`."""
        place, source_place = _encoded(
            query_cells, source_cells, query_mask, source_mask, reference
        )
        mask = None if source_mask is None else source_mask.flatten(1)
        query, source = query_cells.flatten(1, 2), source_cells.flatten(1, 2)
        return self.gather_tokens(query, source, place, source_place, mask).view(query_cells.shape)

    def gather_tokens(
        self,
        query: Tensor,
        source: Tensor,
        query_place: Tensor,
        source_place: Tensor,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """Messages (B, Q, C) before the output projection.

        Args:
            query: (B, Q, C).
            source: (B, S, C).
            query_place: (B, Q, C), p.
            source_place: (B, S, C), s.
            source_mask: (B, S) bool, True = valid, or None.
        """
        source = _clean(source, source_mask)
        q = split_heads(self.query(query + query_place), self.heads)
        k = split_heads(self.key(source + source_place), self.heads)
        v = split_heads(self.value(source), self.heads)
        return join_heads(biased_attention(q, k, v, None, source_mask))


class ConditionalAttention(PointedMechanism):
    """message = softmax((c_q c_k^T + p_q p_k^T) / sqrt(2 D)) v per head; see `PointedMechanism`.

    c_q = Wq x, c_k = Wk y: content. p_q = Wp (T(x) * r), p_k = Ws s: place, r and s the sine
    encodings of the reference point of x and of the place of y, T an MLP whose result is the diagonal
    of a matrix. In the first layer of a decoder T is 1 and both places are added to the content as
    well: c_q = Wq x + Wf e, c_k = Wk y + p_k, with e a learned embedding of the query, here r.

    Args:
        channels: C of both maps and of the message, a multiple of 4.
        heads: M.
        kind: "self" or "cross".
        first: whether this is the first layer of a decoder.
        qkv_bias: bias of the projections of queries, keys and values.
        out_bias: bias of the output projection.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kind: Kind,
        *,
        first: bool = False,
        qkv_bias: bool = True,
        out_bias: bool = True,
    ) -> None:
        super().__init__(channels, heads, kind, qkv_bias=qkv_bias, out_bias=out_bias)
        self.query_place = nn.Linear(channels, channels, bias=qkv_bias)
        self.key_place = nn.Linear(channels, channels, bias=qkv_bias)
        self.first_place: nn.Linear | None = None
        self.transform: nn.Sequential | None = None
        if first:
            self.first_place = nn.Linear(channels, channels, bias=qkv_bias)
        else:
            self.transform = nn.Sequential(
                nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
            )

    def gather(
        self,
        query_cells: Tensor,
        source_cells: Tensor,
        query_mask: Tensor | None,
        source_mask: Tensor | None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `PointedMechanism.gather`."""
        place, source_place = _encoded(
            query_cells, source_cells, query_mask, source_mask, reference
        )
        mask = None if source_mask is None else source_mask.flatten(1)
        query, source = query_cells.flatten(1, 2), source_cells.flatten(1, 2)
        embedding = place if self.first_place is not None else None
        if self.transform is not None:
            place = self.transform(query) * place
        message = self.gather_tokens(query, source, place, source_place, mask, embedding)
        return message.view(query_cells.shape)

    def gather_tokens(
        self,
        query: Tensor,
        source: Tensor,
        query_place: Tensor,
        source_place: Tensor,
        source_mask: Tensor | None = None,
        embedding: Tensor | None = None,
    ) -> Tensor:
        """Messages (B, Q, C) before the output projection.

        The published decoder takes T of its state before the self-attention of the layer, shares
        one T among layers and multiplies outside: give the product as `query_place`.

        Args:
            query: (B, Q, C), x.
            source: (B, S, C), y.
            query_place: (B, Q, C), T(x) * r.
            source_place: (B, S, C), s.
            source_mask: (B, S) bool, True = valid, or None.
            embedding: (B, Q, C), e; for the first layer and only for it.
        """
        if (embedding is None) != (self.first_place is None):
            raise ValueError(
                "embedding must be given to the first layer of a decoder and only to it"
            )
        source, key_place = _clean(source, source_mask), self.key_place(source_place)
        content, key_content = self.query(query), self.key(source)
        if self.first_place is not None:
            content, key_content = content + self.first_place(embedding), key_content + key_place
        # Content and place side by side within each head.
        q = self._side_by_side(content, self.query_place(query_place))
        k = self._side_by_side(key_content, key_place)
        v = split_heads(self.value(source), self.heads)
        return join_heads(biased_attention(q, k, v, None, source_mask))

    def _side_by_side(self, content: Tensor, place: Tensor) -> Tensor:
        """(B, M, L, 2 D)."""
        return torch.cat((split_heads(content, self.heads), split_heads(place, self.heads)), 3)


def _clean(source: Tensor, mask: Tensor | None) -> Tensor:
    """Source tokens (B, S, C) with zeros under their mask."""
    return source if mask is None else source.masked_fill(~mask[..., None], 0)


def _encoded(
    query_cells: Tensor,
    source_cells: Tensor,
    query_mask: Tensor | None,
    source_mask: Tensor | None,
    reference: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Encodings (B, Q, C) of the reference points and (B, S, C) of the places of the source."""
    channels = query_cells.shape[3]
    if reference is None:
        reference = own_points(query_cells, query_mask)
    place = point_encoding(reference.flatten(1, 2), channels)
    source_place = point_encoding(own_points(source_cells, source_mask).flatten(1, 2), channels)
    return place.to(query_cells.dtype), source_place.to(source_cells.dtype)
