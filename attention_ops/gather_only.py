"""QuadTree attention of plain tensor operations alone, for graphs that leave PyTorch.

The ops of `functional` and `tree_ops` are opaque to an exporter. Inside `gather_only()` these functions
stand in their place: gathers, top-K, softmax and products, each of which ONNX has too, with no loop over
tiles and no branch on a value. The maths stand in `attention_ops.reference` and `attention_ops.trees`;
rounding apart the results are theirs, ties included.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from attention_ops.pyramid import (
    map_to_tokens,
    mask_pyramid,
    pad_to_multiple,
    token_pyramid,
    tokens_to_map,
)
from attention_ops.trees import Fan, Grid, turned

_active = False


def active() -> bool:
    """Whether the ops are to be made of plain tensor operations."""
    return _active


@contextmanager
def gather_only() -> Iterator[None]:
    """Inside the block, of all threads, the sparse ops are traced into what they are made of."""
    global _active  # noqa: PLW0603  a ContextVar would break torch.compile(fullgraph=True)
    before, _active = _active, True
    try:
        yield
    finally:
        _active = before


def coarse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Message, index and score of `reference.coarse_forward`, which has the arguments."""
    valid = None if key_mask is None else key_mask[:, None, None]  # (B, 1, 1, S)
    if valid is not None:
        hidden = ~valid.mT
        key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
    share, rank = _shares(query, key, valid, None, scale)
    message, position, score = _selected(share, rank, value, topk, variant)
    return message.to(query.dtype), position.int(), score


def fine(  # noqa: PLR0913  the schema of the op
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Message, index and score of `reference.fine_forward`, which has the arguments."""
    B, M, R, F, D = key.shape
    P, K = parent_index.shape[2:]
    parent = parent_index.long()
    safe = parent.clamp_min(0).flatten(2)  # (B, M, P * K)
    valid = (parent >= 0)[..., None].expand(B, M, P, K, F)
    if key_mask is not None:
        hidden = ~key_mask[:, None, :, :, None]
        key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
        place = torch.arange(B, device=key.device).view(B, 1, 1) * R + safe
        valid = valid & _rows(key_mask.reshape(B * R, F), place).view(B, M, P, K, F)
    valid = valid.flatten(3)[:, :, :, None]  # (B, M, P, 1, K * F)
    place = torch.arange(B * M, device=key.device).view(B, M, 1) * R + safe
    keys, values = (
        _rows(x.reshape(B * M * R, F * D), place).view(B, M, P, K * F, D) for x in (key, value)
    )
    weight = parent_score if variant == "A" else None
    share, rank = _shares(query, keys, valid, weight, scale)
    message, position, score = _selected(share, rank, values, topk, variant)
    child = torch.arange(F, device=key.device)
    token = (parent[..., None] * F + child).flatten(3)[:, :, :, None]  # (B, M, P, 1, K * F)
    token = token.expand(B, M, P, F, K * F).gather(-1, position.clamp_min(0))
    index = token.masked_fill(position < 0, -1)
    return message.to(query.dtype), index.int(), score


def pyramid(
    cells: Tensor,
    mask: Tensor | None,
    heads: int,
    levels: int,
    fan: Fan,
    turn: Tensor | None,
) -> list[Tensor]:
    """What `tree_ops.pyramid` gives, which has the arguments."""
    F = fan[0] * fan[1]
    whole = (fan[0] ** (levels - 1), fan[1] ** (levels - 1))
    padded, mask = pad_to_multiple(cells, mask, whole)
    tokens = map_to_tokens(padded, levels, heads, fan)
    masks = None
    if mask is not None:
        masks = mask_pyramid(map_to_tokens(mask[..., None], levels, 1, fan)[:, 0, :, 0], levels, F)
        assert masks is not None
        tokens = tokens.masked_fill(~masks[-1][:, None, :, None], 0)
    found = token_pyramid(_wide(tokens), masks, levels, F)
    if turn is not None:
        parts = turn.split([level.shape[2] for level in found])
        found = [turned(level, part) for level, part in zip(found, parts, strict=True)]
    return [level.to(cells.dtype) for level in found]


def merge(tokens: list[Tensor], weight: Tensor | None, size: tuple[int, int], fan: Fan) -> Tensor:
    """What `tree_ops.merge` gives, which has the arguments."""
    total: Tensor | None = None
    for i, level in enumerate(tokens):
        row = _wide(level) if weight is None else _wide(level) * weight[i]
        if total is not None:
            row = (row.unflatten(2, (-1, fan[0] * fan[1])) + total[:, :, :, None]).flatten(2, 3)
        total = row
    assert total is not None
    padded = Grid(*size, len(tokens), fan).padded
    cells = tokens_to_map(total.to(tokens[0].dtype), padded, len(tokens), fan)
    return cells[:, : size[0], : size[1]].contiguous()


def _rows(table: Tensor, place: Tensor) -> Tensor:
    """Rows (n, C) of a table (R, C) at the places, n numbers of any shape."""
    return table.index_select(0, place.flatten())


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _shares(
    query: Tensor, key: Tensor, valid: Tensor | None, weight: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Share of every candidate, and what ranks it: minus infinity where it is not valid.

    Args:
        query: (..., F, D).
        key: (..., N, D), finite.
        valid: (..., 1, N) bool, or None for all.
        weight: (..., G) of groups of N / G candidates, each with a softmax of its own; None: one group.
        scale: factor of the logits.

    Returns:
        Both (..., F, N); without weights logits rank, with them the shares.
    """
    logits = _wide(query) @ _wide(key).mT * scale
    if valid is not None:
        logits = logits.masked_fill(~valid, torch.finfo(logits.dtype).min)
    if weight is None:
        share, rank = logits.softmax(-1), logits
    else:
        groups = logits.unflatten(-1, (weight.shape[-1], -1)).softmax(-1)
        share = (groups * _wide(weight)[..., None, :, None]).flatten(-2)
        rank = share
    if valid is None:
        return share, rank
    return share * valid, rank.masked_fill(~valid, -torch.inf)


def _selected(
    share: Tensor, rank: Tensor, value: Tensor, topk: int, variant: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Message (..., F, D), positions (..., F, K) selected and their score (empty for variant B)."""
    position = _best(rank, topk)
    score = share.new_zeros(0)
    if variant == "A":
        score = share.gather(-1, position.clamp_min(0)).masked_fill(position < 0, 0)
        candidate = torch.arange(share.shape[-1], device=share.device)
        chosen = (position[..., None, :] == candidate[:, None]).any(-1)  # (..., F, N)
        share = share.masked_fill(chosen, 0)
    return share @ _wide(value), position, score


def _best(rank: Tensor, topk: int) -> Tensor:
    """Positions (..., K) of the largest along the last axis, ascending; -1 for those at -inf.

    Nobody promises which of equals `topk` takes, so only its K-th value counts: what is above it is in,
    and of what equals it as many as have room, the lower position first.
    """
    N = rank.shape[-1]
    K = min(topk, N)
    if not K:
        return rank.new_zeros((*rank.shape[:-1], 0), dtype=torch.int64)
    least = rank.topk(K).values[..., -1:]
    above, equal = rank > least, rank == least
    room = K - above.sum(-1, keepdim=True)
    taken = (above | (equal & (equal.cumsum(-1) <= room))) & (rank > -torch.inf)
    place = torch.where(taken, torch.arange(N, device=rank.device), N)
    position = place.topk(K, largest=False, sorted=True).values
    return position.masked_fill(position == N, -1)
