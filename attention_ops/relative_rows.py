"""Full attention along image rows with relative positions, as STTR defines it.

A column attends to every column of one row of the other map (or its own); how far apart the two
are enters the logits through a table of sines (Li et al. 2021, "Revisiting Stereo Depth Estimation
From a Sequence-to-Sequence Perspective with Transformers", eq. 3 to 5). Rows know nothing of each
other, so they are taken in chunks and memory beyond the tokens' own does not grow with their number.
"""

import torch
from torch import Tensor, nn

from attention_ops._checks import check_same_dtype, check_shape

MAX_MEMORY = 2**27  # bytes of a chunk's logits and what they are made of; more was not faster


def distance_sines(
    length: int,
    source_length: int,
    channels: int,
    spacing: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sines and cosines of every distance between a column that asks and one that answers.

    Row (L - 1 - i) + j stands for query column i and source column j, at x = (i - j) * spacing;
    channel 2k is sin(x f_k), 2k + 1 is cos(x f_k), with f_k = 10000 ** (-2 k / channels).

    Args:
        length: L, columns that ask.
        source_length: S, columns that answer.
        channels: C, even.
        spacing: distance between neighbouring columns.
        device: where the result lives.
        dtype: of the result; computed in float32 at least.

    Returns:
        (L + S - 1, C).
    """
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")
    wide = torch.promote_types(dtype, torch.float32)
    first = torch.arange(length - 1, -source_length, -1, device=device, dtype=wide) * spacing
    exponent = torch.arange(0, channels, 2, device=device, dtype=wide) / channels
    phase = first[:, None] / 10000**exponent
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(1).to(dtype)


def relative_logits(
    query: Tensor, key: Tensor, query_table: Tensor, key_table: Tensor, causal: bool = False
) -> Tensor:
    """Scaled logits of all column pairs of a row, with the terms of relative position.

    logits[m, r, i, j] = (q_i . k_j + q_i . key_table[d] + k_j . query_table[d]) / sqrt(D), where
    d = (L - 1 - i) + j. The encodings of all (i, j) are never laid out: each token is multiplied
    with the whole table, and d is found by reading the result askew.

    Args:
        query: (R, L, M, D).
        key: (R, S, M, D).
        query_table: (P, M, D), P = L + S - 1, distances projected as queries are.
        key_table: (P, M, D), distances projected as keys are.
        causal: source columns right of the query's own (j > i) get minus infinity.

    Returns:
        (M, R, L, S), heads first.
    """
    _check_logits(query, key, query_table, key_table)
    _, L, _, D = query.shape
    S = key.shape[1]
    scaled = query.permute(2, 0, 1, 3).flatten(1, 2) * D**-0.5  # (M, R * L, D)
    key = key.permute(2, 0, 1, 3).flatten(1, 2)  # (M, R * S, D)
    by_query = scaled @ _columns(key_table)  # (M, R * L, L + S)
    by_key = key @ _columns(query_table.flip(0) * D**-0.5)  # (M, R * S, L + S)
    scaled, key = scaled.unflatten(1, (-1, L)), key.unflatten(1, (-1, S))
    logits = scaled @ key.mT
    logits += _askew(by_query.unflatten(1, (-1, L)))
    logits += _askew(by_key.unflatten(1, (-1, S))).mT
    if causal:
        hidden = torch.ones(L, S, dtype=torch.bool, device=logits.device).triu(1)
        logits.masked_fill_(hidden, -torch.inf)
    return logits


def row_chunks(rows: int, row_bytes: int, max_memory: int = MAX_MEMORY) -> list[slice]:
    """Slices of as many rows as fit in `max_memory` bytes, at least one row each."""
    step = max(1, max_memory // max(1, row_bytes))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def logit_bytes(length: int, source_length: int, heads: int, dtype: torch.dtype) -> int:
    """Bytes that `relative_logits` and a softmax of its result hold at most for each row."""
    pairs = heads * (2 * (length + source_length) ** 2 + 3 * length * source_length)
    return pairs * dtype.itemsize


class RelativeRowAttention(nn.Module):
    """Multi-head attention along rows with relative positions (STTR's `MultiheadAttentionRelative`).

    Distances go through the projections of queries and of keys, biases included. Whether a row
    attends to itself or to another is what the caller passes as `source`; the same weights and the
    same sums serve both.

    Args:
        channels: C of the tokens and the message.
        heads: M, a divisor of `channels`.
        max_memory: bytes that the logits of a chunk of rows may take.
    """

    def __init__(self, channels: int, heads: int, max_memory: int = MAX_MEMORY) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"channels ({channels}) must divide into heads ({heads})")
        self.heads = heads
        self.max_memory = max_memory
        self.qkv = nn.Linear(channels, 3 * channels)  # queries, keys, values
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, source: Tensor, table: Tensor) -> Tensor:
        """The message to every token.

        Args:
            tokens: (R, L, C), that ask.
            source: (R, S, C), that answer.
            table: (L + S - 1, C), as of `distance_sines`; flipped along its rows where distances
                count the other way, as for the right image.

        Returns:
            (R, L, C).
        """
        query, key = self._project(tokens, 0), self._project(source, 1)
        value = self._project(source, 2)
        query_table, key_table = self._project(table, 0), self._project(table, 1)
        messages = [
            self._attend(query[rows], key[rows], value[rows], query_table, key_table)
            for rows in self.chunks(tokens, source)
        ]
        message: Tensor = self.out(torch.cat(messages).flatten(2))
        return message

    def logits(self, tokens: Tensor, source: Tensor, table: Tensor, causal: bool = False) -> Tensor:
        """Raw logits summed over heads, (R, L, S), of as many rows as are given at once.

        Args:
            tokens: (R, L, C), that ask.
            source: (R, S, C), that answer.
            table: (L + S - 1, C).
            causal: source columns right of the query's own get minus infinity.
        """
        return relative_logits(
            self._project(tokens, 0),
            self._project(source, 1),
            self._project(table, 0),
            self._project(table, 1),
            causal,
        ).sum(0)

    def chunks(self, tokens: Tensor, source: Tensor) -> list[slice]:
        """Rows of tokens (R, L, C) and source (R, S, C) to be taken together."""
        R, L, _ = tokens.shape
        row_bytes = logit_bytes(L, source.shape[1], self.heads, tokens.dtype)
        return row_chunks(R, row_bytes, self.max_memory)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, query_table: Tensor, key_table: Tensor
    ) -> Tensor:
        """Messages (R, L, M, D), not yet projected, of a few rows."""
        weights = relative_logits(query, key, query_table, key_table).softmax(-1)
        return (weights @ value.permute(2, 0, 1, 3)).permute(1, 2, 0, 3)

    def _project(self, tokens: Tensor, part: int) -> Tensor:
        """Tokens (..., C) as queries (0), keys (1) or values (2): (..., M, D)."""
        weight, bias = self.qkv.weight.chunk(3)[part], self.qkv.bias.chunk(3)[part]
        return nn.functional.linear(tokens, weight, bias).unflatten(-1, (self.heads, -1))


def _columns(table: Tensor) -> Tensor:
    """The table (P, M, D) as (M, D, P + 1), with a column of zeros that makes `_askew` a view."""
    return nn.functional.pad(table.permute(1, 2, 0), (0, 1))


def _askew(scores: Tensor) -> Tensor:
    """out[..., i, j] = scores[..., i, L - 1 - i + j]; scores (..., L, L + S) -> (..., L, S)."""
    L, width = scores.shape[-2:]
    # in memory a step of i less one column is L + S - 1 numbers
    shifted = scores.flatten(-2)[..., L - 1 : L - 1 + L * (width - 1)]
    return shifted.unflatten(-1, (L, width - 1))[..., : width - L]


def _check_logits(query: Tensor, key: Tensor, query_table: Tensor, key_table: Tensor) -> None:
    check_same_dtype(query=query, key=key, query_table=query_table, key_table=key_table)
    sizes = check_shape("query", query, "R L M D")
    sizes = check_shape("key", key, "R S M D", sizes)
    sizes["P"] = sizes["L"] + sizes["S"] - 1
    check_shape("query_table", query_table, "P M D", sizes)
    check_shape("key_table", key_table, "P M D", sizes)
