"""The portable backend: the two sparse ops in plain PyTorch, tile after tile, on any device.

A tile is cut so that what it gathers and computes stays in cache; the backward pass computes
the tile again instead of keeping it. See `reference` for the maths and the arguments.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attention_ops.tile import Tile, attend, attend_backward

# Elements of the largest buffer of a tile. 1 MB of float32: a tile's gathered keys, values and
# logits stay in the caches of one core; measured best or near it between 2 ** 16 and 2 ** 20.
TILE_ELEMENTS = 1 << 18


def coarse_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `reference.coarse_forward`."""
    L, K = query.shape[2], min(topk, key.shape[2])
    slabs = _coarse_slabs(query, key, value, key_mask)
    message = query.new_empty(slabs.query.shape)
    lse = slabs.query.new_empty(slabs.query.shape[:2], dtype=_wide_dtype(query))
    index = lse.new_empty(*lse.shape, K, dtype=torch.int32)
    score = lse.new_empty(index.shape if variant == "A" else 0)
    for at, tile in _coarse_tiles(slabs, scale):
        result = attend(tile, topk, variant)
        message[at], lse[at], index[at] = result.message, result.lse, result.position
        if result.score is not None:
            score[at] = result.score
    heads = query.shape[:2]
    if variant == "A":
        score = score.unflatten(0, heads)
    return message.view(query.shape), lse.view(*heads, L), index.view(*heads, L, K), score


def coarse_backward(
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    message: Tensor,
    lse: Tensor,
    index: Tensor,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.coarse_backward`."""
    slabs = _coarse_slabs(query, key, value, key_mask)
    grad_message, message, lse, index = (
        x.flatten(0, 1) for x in (grad_message, message, lse, index)
    )
    grad_score = grad_score.reshape(index.shape) if variant == "A" else grad_score
    wide = lse.dtype
    grad_query = lse.new_empty(slabs.query.shape)
    grad_key = lse.new_zeros(slabs.key.shape)
    grad_value = lse.new_zeros(slabs.value.shape)
    for at, tile in _coarse_tiles(slabs, scale):
        of_query, of_key, of_value, _ = attend_backward(
            tile,
            grad_message[at].to(wide),
            grad_score[at].to(wide) if variant == "A" else None,
            message[at].to(wide),
            lse[at],
            index[at].long(),
        )
        grad_query[at] = of_query
        grad_key[at[0]] += of_key
        grad_value[at[0]] += of_value
    grad_query.mul_(scale)
    return (
        grad_query.view(query.shape).to(query.dtype),
        grad_key.view(key.shape).to(key.dtype),
        grad_value.view(value.shape).to(value.dtype),
    )


def fine_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `reference.fine_forward`."""
    B, M, P, F, _ = query.shape
    K = min(topk, parent_index.shape[-1] * F)
    rows = _fine_rows(query, key, value, parent_index, parent_score, key_mask)
    message = query.new_empty(rows.query.shape)
    lse = message.new_empty(B * M * P, F, dtype=_wide_dtype(query))
    index = lse.new_empty(*lse.shape, K, dtype=torch.int32)
    score = lse.new_empty(index.shape if variant == "A" else 0)
    for at, _, tile in _fine_tiles(rows, scale):
        result = attend(tile, topk, variant)
        message[at], lse[at] = result.message, result.lse
        index[at] = _token_of_position(result.position, rows.parent[at], F)
        if result.score is not None:
            score[at] = result.score
    if variant == "A":
        score = score.view(B, M, P, F, K)
    return message.view(query.shape), lse.view(B, M, P, F), index.view(B, M, P, F, K), score


def fine_backward(
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
    message: Tensor,
    lse: Tensor,
    index: Tensor,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `reference.fine_backward`."""
    F, D = query.shape[-2:]
    rows = _fine_rows(query, key, value, parent_index, parent_score, key_mask)
    grad_message, message, lse, index = (
        x.flatten(0, 2) for x in (grad_message, message, lse, index)
    )
    grad_score = grad_score.reshape(index.shape) if variant == "A" else grad_score
    wide = lse.dtype
    grad_query = lse.new_empty(rows.query.shape)
    grad_key = lse.new_zeros(rows.key.shape)
    grad_value = lse.new_zeros(rows.value.shape)
    grad_weight = lse.new_empty(rows.parent.shape if rows.weight is not None else 0)
    for at, row, tile in _fine_tiles(rows, scale):
        of_query, of_key, of_value, of_weight = attend_backward(
            tile,
            grad_message[at].to(wide),
            grad_score[at].to(wide) if variant == "A" else None,
            message[at].to(wide),
            lse[at],
            _position_of_token(index[at], rows.parent[at], F) if variant == "A" else index[at],
        )
        grad_query[at] = of_query
        # scatter_add_ on an expanded index runs several times faster on CPU than index_add_
        row = row.long()[:, None].expand(-1, F * D)
        grad_key.scatter_add_(0, row, of_key.reshape(-1, F * D))
        grad_value.scatter_add_(0, row, of_value.reshape(-1, F * D))
        if of_weight is not None:
            grad_weight[at] = of_weight
    grad_query.mul_(scale)
    if parent_score is not None:
        grad_weight = grad_weight.view(parent_score.shape).to(parent_score.dtype)
    return (
        grad_query.view(query.shape).to(query.dtype),
        grad_key.view(key.shape).to(key.dtype),
        grad_value.view(value.shape).to(value.dtype),
        grad_weight,
    )


class _Slabs(NamedTuple):
    query: Tensor  # (B * M, L, D)
    key: Tensor  # (B * M, S, D)
    value: Tensor  # (B * M, S, D)
    valid: Tensor | None  # (B * M, 1, S)


def _wide_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _coarse_slabs(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> _Slabs:
    M, S = key.shape[1:3]
    valid = None
    if key_mask is not None:
        hidden = ~key_mask[:, None, :, None]  # (B, 1, S, 1)
        key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
        valid = key_mask.repeat_interleave(M, 0).view(-1, 1, S)
    return _Slabs(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), valid)


def _coarse_tiles(slabs: _Slabs, scale: float) -> Iterator[tuple[tuple[slice, slice], Tile]]:
    """Whole slabs while their logits fit in a tile, else runs of rows of one slab."""
    wide = _wide_dtype(slabs.query)
    (slab_count, L, _), S = slabs.query.shape, max(slabs.key.shape[1], 1)
    slabs_at_once = max(TILE_ELEMENTS // max(L * S, 1), 1)
    rows_at_once = max(TILE_ELEMENTS // S, 1)
    for g in range(0, slab_count, slabs_at_once):
        several = slice(g, g + slabs_at_once)
        key, value = slabs.key[several].to(wide), slabs.value[several].to(wide)
        valid = None if slabs.valid is None else slabs.valid[several]
        for i in range(0, L, rows_at_once):
            at = (several, slice(i, i + rows_at_once))
            yield at, Tile(slabs.query[at].to(wide) * scale, key, value, valid, None)


class _Rows(NamedTuple):
    query: Tensor  # (B * M * P, F, D)
    key: Tensor  # (B * M * R, F * D)
    value: Tensor  # (B * M * R, F * D)
    parent: Tensor  # (B * M * P, K) int32 as given
    row: Tensor  # (B * M * P, K) int32 rows of key and value
    weight: Tensor | None  # (B * M * P, K)
    mask: Tensor | None  # (B * R, F) bool; None when every candidate is valid
    mask_row: Tensor | None  # (B * M * P, K) int32 rows of mask


def _fine_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
) -> _Rows:
    B, M, R, F, D = key.shape
    parent = parent_index.reshape(-1, parent_index.shape[-1])
    batch = torch.arange(B, dtype=torch.int32, device=key.device)[:, None]
    slab = torch.arange(B * M, dtype=torch.int32, device=key.device).view(B, M)
    safe, mask, mask_row = parent_index, None, None
    # To ask a device whether a parent is missing would make the host wait for it.
    on_device = parent_index.device.type != "cpu"
    if key_mask is not None or on_device or bool((parent_index < 0).any()):
        if key_mask is None:
            key_mask = torch.ones(B, R, F, dtype=torch.bool, device=key.device)
        hidden = ~key_mask[:, None, :, :, None]  # (B, 1, R, F, 1)
        key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
        safe = parent_index.clamp(min=0)
        mask = key_mask.reshape(B * R, F)
        mask_row = (safe + (batch * R)[..., None, None]).reshape(parent.shape)
    return _Rows(
        query.reshape(-1, *query.shape[-2:]),
        key.reshape(B * M * R, F * D),
        value.reshape(B * M * R, F * D),
        parent,
        (safe + (slab * R)[..., None, None]).reshape(parent.shape),
        None if parent_score is None else parent_score.reshape(parent.shape),
        mask,
        mask_row,
    )


def _fine_tiles(rows: _Rows, scale: float) -> Iterator[tuple[slice, Tensor, Tile]]:
    """Runs of parents with their candidates gathered: (which parents, rows gathered, tile)."""
    wide = _wide_dtype(rows.query)
    (count, F, D), K = rows.query.shape, rows.parent.shape[1]
    step = max(TILE_ELEMENTS // max(K * F * D, 1), 1)
    for i in range(0, count, step):
        at = slice(i, i + step)
        row = rows.row[at].flatten()
        shape = (min(step, count - i), K * F, D)
        valid = None
        if rows.mask is not None and rows.mask_row is not None:
            valid = rows.mask.index_select(0, rows.mask_row[at].flatten()).view(-1, K, F)
            valid = (valid & (rows.parent[at] >= 0)[..., None]).view(-1, 1, K * F)
        yield (
            at,
            row,
            Tile(
                rows.query[at].to(wide) * scale,
                rows.key.index_select(0, row).view(shape).to(wide),
                rows.value.index_select(0, row).view(shape).to(wide),
                valid,
                None if rows.weight is None else rows.weight[at].to(wide),
            ),
        )


def _token_of_position(position: Tensor, parent: Tensor, F: int) -> Tensor:
    """Token numbers (n, F, K') of candidate positions, given the parents (n, K)."""
    if not position.shape[-1]:
        return position
    child = torch.arange(F, dtype=parent.dtype, device=parent.device)
    token = (parent[..., None] * F + child).flatten(1)  # (n, K * F)
    token = token[:, None].expand(-1, F, -1).gather(-1, position.clamp(min=0))
    return token.masked_fill_(position < 0, -1)


def _position_of_token(index: Tensor, parent: Tensor, F: int) -> Tensor:
    """Candidate positions (n, F, K') of token numbers; undoes `_token_of_position`."""
    if not index.shape[-1]:
        return index.long()
    is_parent = index.div(F, rounding_mode="floor")[..., None] == parent[:, None, None, :]
    slot = is_parent.to(torch.uint8).argmax(-1)
    return torch.where(index < 0, -1, slot * F + index.remainder(F))
