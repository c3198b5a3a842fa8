"""The specification of the two sparse ops, slow and obvious; every other backend is held to it.

Both ops are one computation. A block of queries (B, M, P, F, D) looks at N candidates that the
block shares; candidate n lies in group g(n):

    logit[f, n] = scale * query[f] . key[n]                 (-inf where n is not valid)
    prob[f, n]  = softmax over the valid candidates of its group
    share[f, n] = prob[f, n] * weight[g(n)]
    message[f]  = sum over n of share[f, n] * value[n]

Coarse level: one block (P = 1) of F = L queries, N = S candidates, one group, weight 1.
Fine level: P blocks of F children; the candidates are the F children of each of the K parents
that the block was given, k-major and child-minor. Variant B (QTAttB of Tang et al., ICLR 2022,
"QuadTree Attention for Vision Transformers", sec. 3.2): one group, weight 1. Variant A (QTAttA):
a group for each parent, weight = the parent's score.

Top-K: B ranks logits, A ranks shares; the lower candidate wins a tie. The index holds token
numbers, ascending by candidate position, -1 at the end where fewer are valid. In variant A the
message leaves the selected candidates out (the next level speaks for them), and the shares of
the selected are a differentiable output, `score`.
A row without valid candidates has message 0, lse -inf, index -1 and gradient 0. Whatever lies
under a mask, NaN too, is never read into a result.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def coarse_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every query looks at every key.

    Args:
        query: (B, M, L, D).
        key: (B, M, S, D).
        value: (B, M, S, D).
        key_mask: (B, S) bool, True = valid, or None.
        topk: number of tokens to select per query; 0 selects none, more than S means S.
        scale: factor of the logits.
        variant: "A" or "B".

    Returns:
        message (B, M, L, D); lse (B, M, L), log of the sum of exp(logit); index (B, M, L, K)
        int32; score (B, M, L, K) for A, (0,) for B.
    """
    block = _coarse_block(query, key, value, key_mask)
    message, lse, position, score = _attend(block, topk, scale, variant)
    score = score.squeeze(2) if variant == "A" else score
    return message.squeeze(2).to(query.dtype), lse.squeeze(2), position.squeeze(2).int(), score


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
    """Gradients of `coarse_forward` for query, key and value, in their dtypes."""
    block = _coarse_block(query, key, value, key_mask)
    grad_query, grad_key, grad_value, _ = _attend_backward(
        grad_message.unsqueeze(2),
        grad_score.view_as(index).unsqueeze(2) if variant == "A" else None,
        block,
        index.unsqueeze(2),
        scale,
    )
    return (
        grad_query.squeeze(2).to(query.dtype),
        grad_key.squeeze(2).to(key.dtype),
        grad_value.squeeze(2).to(value.dtype),
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
    """The F children of a parent look at the F children of each of K parents.

    Args:
        query: (B, M, P, F, D).
        key: (B, M, R, F, D).
        value: (B, M, R, F, D).
        parent_index: (B, M, P, K) int32, numbers in [0, R) that differ within a row; -1 = none.
        parent_score: (B, M, P, K) for A, None for B.
        key_mask: (B, R, F) bool, True = valid, or None.
        topk: number of tokens to select per query; 0 selects none, more than F * K means F * K.
        scale: factor of the logits.
        variant: "A" or "B".

    Returns:
        message (B, M, P, F, D); lse (B, M, P, F); index (B, M, P, F, K') int32, token number =
        F * parent + child; score (B, M, P, F, K') for A, (0,) for B.
    """
    block = _fine_block(query, key, value, parent_index, parent_score, key_mask)
    message, lse, position, score = _attend(block, topk, scale, variant)
    token = _candidate_tokens(parent_index, query.shape[3])[:, :, :, None]  # (B, M, P, 1, N)
    index = token.expand(*query.shape[:4], -1).gather(-1, position.clamp(min=0))
    index = index.masked_fill(position < 0, -1)
    return message.to(query.dtype), lse, index.int(), score


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
    """Gradients of `fine_forward` for query, key, value and parent_score ((0,) for B)."""
    block = _fine_block(query, key, value, parent_index, parent_score, key_mask)
    token = _candidate_tokens(parent_index, query.shape[3])[:, :, :, None, None]  # (..., 1, 1, N)
    is_selected = (token == index[..., None]) & (index >= 0)[..., None]  # (B, M, P, F, K', N)
    position = is_selected.int().argmax(-1) if index.shape[-1] else index
    grad_query, grad_key, grad_value, grad_weight = _attend_backward(
        grad_message,
        grad_score.view_as(index) if variant == "A" else None,
        block,
        position.masked_fill(index < 0, -1),
        scale,
    )
    grad_key = _scatter_candidates(grad_key, key, parent_index)
    grad_value = _scatter_candidates(grad_value, value, parent_index)
    if parent_score is None:
        return grad_query.to(query.dtype), grad_key, grad_value, query.new_empty(0)
    return grad_query.to(query.dtype), grad_key, grad_value, grad_weight.to(parent_score.dtype)


class _Block(NamedTuple):
    query: Tensor  # (B, M, P, F, D)
    key: Tensor  # (B, M, P, N, D), 0 where not valid
    value: Tensor  # (B, M, P, N, D), 0 where not valid
    valid: Tensor  # (B, M, P, N) bool
    weight: Tensor  # (B, M, P, G), groups of N / G candidates


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _coarse_block(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> _Block:
    B, M, S, _ = key.shape
    if key_mask is None:
        key_mask = torch.ones(B, S, dtype=torch.bool, device=key.device)
    valid = key_mask[:, None, None, :].expand(B, M, 1, S)
    return _make_block(query[:, :, None], key[:, :, None], value[:, :, None], valid, None)


def _fine_block(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Tensor,
    parent_score: Tensor | None,
    key_mask: Tensor | None,
) -> _Block:
    B, M, R, F, _ = key.shape
    if key_mask is None:
        key_mask = torch.ones(B, R, F, dtype=torch.bool, device=key.device)
    batch = torch.arange(B, device=key.device)[:, None, None, None]
    head = torch.arange(M, device=key.device)[None, :, None, None]
    parent = parent_index.long().clamp(min=0)  # (B, M, P, K)
    valid = key_mask[batch, parent] & (parent_index >= 0)[..., None]  # (B, M, P, K, F)
    key, value = key[batch, head, parent], value[batch, head, parent]  # (B, M, P, K, F, D)
    return _make_block(
        query, key.flatten(3, 4), value.flatten(3, 4), valid.flatten(3), parent_score
    )


def _make_block(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor, weight: Tensor | None
) -> _Block:
    query, key, value = _wide(query), _wide(key), _wide(value)
    hidden = ~valid[..., None]
    if weight is None:
        weight = query.new_ones(1, 1, 1, 1)
    return _Block(
        query,
        key.masked_fill(hidden, 0),
        value.masked_fill(hidden, 0),
        valid,
        weight.to(query.dtype).expand(*valid.shape[:3], -1),
    )


def _probabilities(block: _Block, scale: float) -> tuple[Tensor, Tensor]:
    """The logits and, softmax taken in each group, the probabilities; both (B, M, P, F, N)."""
    logits = torch.einsum("bmpfd,bmpnd->bmpfn", block.query, block.key) * scale
    logits = logits.masked_fill(~block.valid[..., None, :], -torch.inf)
    grouped = logits.unflatten(-1, (block.weight.shape[-1], -1))
    lse = grouped.logsumexp(-1, keepdim=True)
    prob = (grouped - lse.masked_fill(lse == -torch.inf, 0)).exp()
    return logits, prob.flatten(-2)


def _select(rank: Tensor, topk: int) -> Tensor:
    """Positions (..., K) of the largest along the last axis, ascending; -1 for those at -inf."""
    N = rank.shape[-1]
    position = rank.argsort(dim=-1, descending=True, stable=True)[..., : min(topk, N)]
    position = position.masked_fill(rank.gather(-1, position) == -torch.inf, N).sort(-1).values
    return position.masked_fill(position == N, -1)


def _selected(position: Tensor, N: int) -> Tensor:
    """Which of N candidates are in `position` (..., K) -> (..., N) bool."""
    candidate = torch.arange(N, device=position.device)
    return (position[..., None, :] == candidate[:, None]).any(-1)


def _attend(
    block: _Block, topk: int, scale: float, variant: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits, prob = _probabilities(block, scale)
    share = prob.unflatten(-1, (block.weight.shape[-1], -1)) * block.weight[..., None, :, None]
    share = share.flatten(-2)
    rank = logits if variant == "B" else share.masked_fill(logits == -torch.inf, -torch.inf)
    position = _select(rank, topk)
    score = share.new_empty(0)
    if variant == "A":
        score = share.gather(-1, position.clamp(min=0)).masked_fill(position < 0, 0)
        share = share.masked_fill(_selected(position, share.shape[-1]), 0)
    message = torch.einsum("bmpfn,bmpnd->bmpfd", share, block.value)
    return message, logits.logsumexp(-1), position, score


def _attend_backward(
    grad_message: Tensor,
    grad_score: Tensor | None,
    block: _Block,
    position: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients for query, key and value of the block and for its weight.

    The chain runs message -> share -> prob -> logit; the softmax of a group gives
    grad_logit = prob * (grad_prob - sum over the group of prob * grad_prob).
    """
    _, prob = _probabilities(block, scale)
    groups = (block.weight.shape[-1], -1)
    weight = block.weight[..., None, :, None]  # (B, M, P, 1, G, 1)
    grad_message = _wide(grad_message)
    grad_share = torch.einsum("bmpfd,bmpnd->bmpfn", grad_message, block.value)
    share = (prob.unflatten(-1, groups) * weight).flatten(-2)
    if grad_score is not None:
        left_out = _selected(position, share.shape[-1])
        share, grad_share = share.masked_fill(left_out, 0), grad_share.masked_fill(left_out, 0)
        grad_score = _wide(grad_score).masked_fill(position < 0, 0)
        grad_share = grad_share.scatter_add(-1, position.long().clamp(min=0), grad_score)
    prob, grad_share = prob.unflatten(-1, groups), grad_share.unflatten(-1, groups)
    grad_weight = (prob * grad_share).sum((-1, -3))  # (B, M, P, G)
    grad_prob = grad_share * weight
    grad_logit = prob * (grad_prob - (prob * grad_prob).sum(-1, keepdim=True))
    grad_logit = grad_logit.flatten(-2) * scale
    return (
        torch.einsum("bmpfn,bmpnd->bmpfd", grad_logit, block.key),
        torch.einsum("bmpfn,bmpfd->bmpnd", grad_logit, block.query),
        torch.einsum("bmpfn,bmpfd->bmpnd", share, grad_message),
        grad_weight,
    )


def _candidate_tokens(parent_index: Tensor, F: int) -> Tensor:
    """Token numbers of the candidates: parent_index (B, M, P, K) -> (B, M, P, K * F) int64."""
    child = torch.arange(F, device=parent_index.device)
    return (parent_index.long()[..., None] * F + child).flatten(-2)


def _scatter_candidates(grad: Tensor, source: Tensor, parent_index: Tensor) -> Tensor:
    """Sums the gradients of candidates (B, M, P, K * F, D) into a tensor like `source`."""
    B, M, _, F, D = source.shape
    row = parent_index.long().clamp(min=0).flatten(2)[..., None, None]  # (B, M, P * K, 1, 1)
    grad = grad.reshape(B, M, -1, F, D)  # an absent parent has gradient 0, so row 0 gains nothing
    total = grad.new_zeros(source.shape)
    return total.scatter_add(2, row.expand_as(grad), grad).to(source.dtype)
