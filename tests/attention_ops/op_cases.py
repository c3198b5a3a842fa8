"""Inputs for the sparse ops, and one call that gives outputs and gradients of any backend."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_ops import coarse_attention, fine_attention

# (B, M, P, F, R, D, K, topk): ones, primes, Nq != Nk, F of maps and lines, top-K past the tokens
FINE_SIZES = [
    (1, 1, 1, 4, 1, 1, 1, 1),
    (2, 3, 5, 4, 7, 7, 3, 5),
    (1, 2, 13, 2, 11, 33, 5, 4),
    (2, 1, 3, 4, 2, 16, 2, 99),
    (1, 5, 67, 4, 19, 12, 6, 0),
]


@dataclass(frozen=True)
class OpInputs:
    """Arguments of one fine call; a coarse call takes the same tokens without parents."""

    query: Tensor  # (B, M, P, F, D)
    key: Tensor  # (B, M, R, F, D)
    value: Tensor  # (B, M, R, F, D)
    parent_index: Tensor  # (B, M, P, K)
    parent_score: Tensor  # (B, M, P, K)
    key_mask: Tensor | None  # (B, R, F)
    topk: int

    def to(self, dtype):
        moved = {
            name: getattr(self, name).to(dtype)
            for name in ("query", "key", "value", "parent_score")
        }
        return replace(self, **moved)


def random_inputs(sizes, generator, dtype=torch.float64, masked=False):
    """Random inputs; `masked` hides cells (all of one parent's, all of the last batch entry's when
    there are two), holds NaN under the mask and leaves out some parents, all of the first row's."""
    B, M, P, F, R, D, K, topk = sizes
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    order = torch.rand(B, M, P, R, generator=generator).argsort(-1)
    inputs = OpInputs(
        query=draw(B, M, P, F, D),
        key=draw(B, M, R, F, D),
        value=draw(B, M, R, F, D),
        parent_index=order[..., :K].to(torch.int32),
        parent_score=torch.rand(B, M, P, K, generator=generator, dtype=torch.float64),
        key_mask=None,
        topk=topk,
    )
    if masked:
        inputs = _with_masks(inputs, generator)
    return inputs.to(dtype)


def _with_masks(inputs, generator):
    B, R, F = inputs.key.shape[0], *inputs.key.shape[2:4]
    mask = torch.rand(B, R, F, generator=generator) > 0.3
    mask[:, 0] = False
    if B > 1:
        mask[-1] = False
    hidden = ~mask[:, None, :, :, None]
    parent_index = inputs.parent_index.clone()
    parent_index[torch.rand(parent_index.shape, generator=generator) < 0.2] = -1
    parent_index[0, 0, 0] = -1
    return replace(
        inputs,
        key=inputs.key.masked_fill(hidden, torch.nan),
        value=inputs.value.masked_fill(hidden, torch.nan),
        key_mask=mask,
        parent_index=parent_index,
    )


def run_fine(inputs, variant, seed=0):
    """Message, index, score and the gradients of one random sum of message and score."""
    leaves = {
        name: getattr(inputs, name).detach().requires_grad_()
        for name in ("query", "key", "value", "parent_score")
    }
    if variant == "B":
        del leaves["parent_score"]
    result = fine_attention(
        leaves["query"],
        leaves["key"],
        leaves["value"],
        inputs.parent_index,
        topk=inputs.topk,
        parent_score=leaves.get("parent_score"),
        key_mask=inputs.key_mask,
        variant=variant,
    )
    return _with_gradients(result, leaves, seed)


def run_coarse(inputs, variant, seed=0):
    """The same for the coarse op on the tokens of `inputs`."""
    leaves = {
        name: getattr(inputs, name).flatten(2, 3).detach().requires_grad_()
        for name in ("query", "key", "value")
    }
    mask = None if inputs.key_mask is None else inputs.key_mask.flatten(1)
    result = coarse_attention(**leaves, topk=inputs.topk, key_mask=mask, variant=variant)
    return _with_gradients(result, leaves, seed)


def _with_gradients(result, leaves, seed):
    generator = torch.Generator().manual_seed(seed)
    total = (_weights(result.message, generator) * result.message).sum()
    if result.score.numel():
        total = total + (_weights(result.score, generator) * result.score).sum()
    grads = torch.autograd.grad(total, list(leaves.values()))
    named = {f"grad_{name}": grad for name, grad in zip(leaves, grads, strict=True)}
    outputs = {"message": result.message, "index": result.index, "score": result.score}
    return {name: x.detach() for name, x in (outputs | named).items()}


def _weights(tensor, generator):
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
