"""Dense attention with top-K on one small tile that fits in cache; `chunked` cuts the tiles.

A tile is a few independent blocks: queries (n, F, D) look at candidates (n, N, D) that each
block holds ready, in groups of N / G candidates with a weight each (see `reference` for the
maths). Everything here is float32 or float64, and nothing records a gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Tile(NamedTuple):
    """The inputs of one tile; candidates that are not valid hold zeros in key and value."""

    query: Tensor  # (n, F, D), already times the scale of the logits
    key: Tensor  # (n, N, D)
    value: Tensor  # (n, N, D)
    valid: Tensor | None  # (n, 1, N) bool; None when all are
    weight: Tensor | None  # (n, G), variant A below the coarsest level; None: one group, weight 1


class TileResult(NamedTuple):
    """The outputs of one tile."""

    message: Tensor  # (n, F, D)
    lse: Tensor  # (n, F)
    position: Tensor  # (n, F, K) int64 candidate numbers, ascending, -1 = none
    score: Tensor | None  # (n, F, K), variant A only


def attend(tile: Tile, topk: int, variant: str) -> TileResult:
    """Message, log-sum-exp and selection of every query of the tile."""
    logits = _logits(tile)
    if variant == "B":
        position = select(logits, topk, tile.valid is None)
        prob, lse = _softmax(logits, tile.valid is None)
        return TileResult(torch.bmm(prob, tile.value), lse, position, None)
    if tile.weight is None:
        share, lse = _softmax(logits, tile.valid is None)
    else:
        lse = logits.logsumexp(-1)
        prob, _ = _softmax(logits.unflatten(-1, (tile.weight.shape[1], -1)), tile.valid is None)
        share = prob.mul_(tile.weight[:, None, :, None]).flatten(-2)
    rank = share if tile.valid is None else share.masked_fill(~tile.valid, -torch.inf)
    position = select(rank, topk, tile.valid is None)
    score = None
    if position.shape[-1]:
        score = _gather_valid(share, position)
        share.scatter_(-1, _doubled(position), 0)
    else:
        score = share.new_zeros(position.shape)
    return TileResult(torch.bmm(share, tile.value), lse, position, score)


def attend_backward(
    tile: Tile,
    grad_message: Tensor,
    grad_score: Tensor | None,
    message: Tensor,
    lse: Tensor,
    position: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients for query (times scale), key, value and weight of the tile.

    Args:
        tile: the inputs of the forward pass.
        grad_message: (n, F, D).
        grad_score: (n, F, K), variant A; None means variant B.
        message: (n, F, D) as the forward pass gave it.
        lse: (n, F) as the forward pass gave it.
        position: (n, F, K) candidate numbers that were selected, -1 = none.
    """
    logits = _logits(tile)
    if grad_score is None:
        prob = _exp_from(logits, lse[..., None], tile.valid is None)
        grad_logit = torch.bmm(grad_message, tile.value.mT)
        grad_logit.sub_((grad_message * message).sum(-1, keepdim=True)).mul_(prob)
        return _grads(tile, grad_logit, prob, grad_message, None)
    groups = (1 if tile.weight is None else tile.weight.shape[1], -1)
    prob, _ = _softmax(logits.unflatten(-1, groups), tile.valid is None)
    weight = None if tile.weight is None else tile.weight[:, None, :, None]
    share = (prob if weight is None else prob * weight).flatten(-2)
    if weight is None:
        share = share.clone()
    grad_share = torch.bmm(grad_message, tile.value.mT)
    if position.shape[-1]:
        present = _doubled(position)
        share.scatter_(-1, present, 0)
        grad_score = torch.where(position < 0, grad_score[..., :1], grad_score)
        grad_share.scatter_(-1, present, grad_score)
    grad_prob = grad_share.unflatten(-1, groups)
    grad_weight = None
    if weight is not None:
        grad_weight = (prob * grad_prob).sum((1, 3))
        grad_prob = grad_prob * weight
    grad_logit = prob * (grad_prob - (prob * grad_prob).sum(-1, keepdim=True))
    return _grads(tile, grad_logit.flatten(-2), share, grad_message, grad_weight)


def select(rank: Tensor, topk: int, all_valid: bool) -> Tensor:
    """Positions (..., K) of the largest along the last axis, ascending; the lower wins a tie.

    One more than asked is looked up: only where it equals the last one kept is there a tie to
    settle, and only those rows pay for a stable sort. A CUDA graph cannot ask which, so all rows do.
    """
    N = rank.shape[-1]
    if topk >= N:
        position = torch.arange(N, device=rank.device).expand(rank.shape)
        top = rank
    elif topk == 0:
        return rank.new_empty(*rank.shape[:-1], 0, dtype=torch.int64)
    elif _captured(rank):
        ordered = rank.sort(dim=-1, descending=True, stable=True)
        top, position = ordered.values[..., :topk], ordered.indices[..., :topk]
    else:
        top, position = rank.topk(topk + 1, dim=-1)
        is_tied = (top[..., -1] == top[..., -2]) & (top[..., -1] > -torch.inf)
        top, position = top[..., :-1], position[..., :-1]
        if is_tied.any():
            tied = rank[is_tied].sort(dim=-1, descending=True, stable=True)
            position = position.contiguous()
            position[is_tied] = tied.indices[:, :topk]
    if all_valid:
        return position if topk >= N else position.sort(-1).values
    position = position.masked_fill(top == -torch.inf, N).sort(-1).values
    return position.masked_fill_(position == N, -1)


def _captured(tensor: Tensor) -> bool:
    """Whether work on the tensor goes into a CUDA graph that is being recorded."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _logits(tile: Tile) -> Tensor:
    logits = torch.bmm(tile.query, tile.key.mT)
    return logits if tile.valid is None else logits.masked_fill_(~tile.valid, -torch.inf)


def _softmax(logits: Tensor, all_valid: bool) -> tuple[Tensor, Tensor]:
    """Softmax of the last axis and its log-sum-exp; a row of -inf gives zeros and -inf."""
    largest = logits.amax(-1)
    if all_valid:
        prob = logits.softmax(-1)
        return prob, largest - prob.amax(-1).log_()
    prob = _exp_from(logits, largest[..., None], all_valid=False)
    total = prob.sum(-1)
    # the largest logit gives exp(0) = 1, so a row with any valid candidate has a total of 1 or more
    prob.div_(total.clamp(min=1)[..., None])
    return prob, largest + total.log_()


def _exp_from(logits: Tensor, origin: Tensor, all_valid: bool) -> Tensor:
    """exp(logits - origin) with 0 for the whole row where the origin is -inf."""
    if not all_valid:
        origin = origin.masked_fill(origin == -torch.inf, 0)
    return (logits - origin).exp_()


def _gather_valid(share: Tensor, position: Tensor) -> Tensor:
    """Shares at `position`, 0 where it is -1."""
    return share.gather(-1, position.clamp(min=0)).masked_fill_(position < 0, 0)


def _doubled(position: Tensor) -> Tensor:
    """`position` with -1 replaced by its row's first, so that writing there twice is harmless.

    A row that holds nothing but -1 has no valid candidate: its shares are 0 wherever one writes.
    """
    return torch.where(position < 0, position[..., :1].clamp(min=0), position)


def _grads(
    tile: Tile, grad_logit: Tensor, share: Tensor, grad_message: Tensor, grad_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    return (
        torch.bmm(grad_logit, tile.key),
        torch.bmm(grad_logit.mT, tile.query),
        torch.bmm(share.mT, grad_message),
        grad_weight,
    )
