"""The sparse ops as PyTorch sees them: schemas, fake kernels, gradients, FLOPs (quadview::*).

The bodies are opaque to torch.compile and torch.export; which backend serves a call is decided
inside them, so forcing one never recompiles anything. Shapes were checked by `functional`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from attention_ops.backends import implementation

Grads = tuple[Tensor | None, ...]

# Matrix products that FLOP formulas count; see `cost`.
FORWARD_PRODUCTS = 2  # query . key, probability . value
BACKWARD_PRODUCTS = 5  # query . key again, and the gradients of probability, query, key, value


@torch.library.custom_op("quadview::coarse", mutates_args=())
def coarse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `reference.coarse_forward`."""
    run = implementation(query).coarse_forward
    with without_autocast(query):
        return _four(run(query, key, value, key_mask, topk, scale, variant))


@torch.library.custom_op("quadview::coarse_backward", mutates_args=())
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
    run = implementation(query).coarse_backward
    inputs = (query, key, value, key_mask)
    with without_autocast(query):
        grads: tuple[Tensor, Tensor, Tensor] = run(
            grad_message, grad_score, *inputs, message, lse, index, scale, variant
        )
    return grads


@torch.library.custom_op("quadview::fine", mutates_args=())
def fine(
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
    run = implementation(query, parent_index).fine_forward
    inputs = (query, key, value, parent_index, parent_score, key_mask)
    with without_autocast(query):
        return _four(run(*inputs, topk, scale, variant))


@torch.library.custom_op("quadview::fine_backward", mutates_args=())
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
    run = implementation(query, parent_index).fine_backward
    inputs = (query, key, value, parent_index, parent_score, key_mask)
    with without_autocast(query):
        grads = run(grad_message, grad_score, *inputs, message, lse, index, scale, variant)
    return _four(grads)


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Inside an op autocast is off: a backend chooses the dtypes of its sums itself."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _four(results: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The results of a backend, with an empty tensor where it has None."""
    first, second, third, fourth = results
    if fourth is None:
        fourth = first.new_empty(0, dtype=_wide_dtype(first))
    return first, second, third, fourth


def _wide_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _fake(
    query: Tensor, candidates: Any, topk: int, variant: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide = _wide_dtype(query)
    index_shape = (*query.shape[:-1], torch.sym_min(topk, candidates))
    return (
        query.new_empty(query.shape),
        query.new_empty(query.shape[:-1], dtype=wide),
        query.new_empty(index_shape, dtype=torch.int32),
        query.new_empty(index_shape if variant == "A" else (0,), dtype=wide),
    )


@coarse.register_fake
def _(
    query: Tensor, key: Tensor, value: Any, key_mask: Any, topk: int, scale: float, variant: str
) -> Any:
    return _fake(query, key.shape[2], topk, variant)


@fine.register_fake
def _(
    query: Tensor,
    key: Any,
    value: Any,
    parent_index: Tensor,
    parent_score: Any,
    key_mask: Any,
    topk: int,
    scale: float,
    variant: str,
) -> Any:
    return _fake(query, parent_index.shape[3] * query.shape[3], topk, variant)


@coarse_backward.register_fake
def _(
    grad_message: Any, grad_score: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> Any:
    return tuple(x.new_empty(x.shape) for x in (query, key, value))


@fine_backward.register_fake
def _(
    grad_message: Any,
    grad_score: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parent_index: Any,
    parent_score: Tensor | None,
    *rest: Any,
) -> Any:
    grads = tuple(x.new_empty(x.shape) for x in (query, key, value))
    if parent_score is None:
        return *grads, query.new_empty(0, dtype=_wide_dtype(query))
    return *grads, parent_score.new_empty(parent_score.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, scale, variant = inputs
    message, lse, index, _ = output
    ctx.mark_non_differentiable(lse, index)
    ctx.save_for_backward(*tensors, message, lse, index)
    ctx.scale, ctx.variant = scale, variant


def _coarse_gradient(ctx: Any, *grads: Tensor) -> Grads:
    grad_message, _, _, grad_score = grads
    op = torch.ops.quadview.coarse_backward
    of_inputs = op(grad_message, grad_score, *ctx.saved_tensors, ctx.scale, ctx.variant)
    return *of_inputs, None, None, None, None


def _fine_gradient(ctx: Any, *grads: Tensor) -> Grads:
    grad_message, _, _, grad_score = grads
    op = torch.ops.quadview.fine_backward
    saved = ctx.saved_tensors
    *of_inputs, of_score = op(grad_message, grad_score, *saved, ctx.scale, ctx.variant)
    return *of_inputs, None, None if saved[4] is None else of_score, None, None, None, None


coarse.register_autograd(_coarse_gradient, setup_context=_save)
fine.register_autograd(_fine_gradient, setup_context=_save)


def _coarse_product(query: torch.Size, key: torch.Size) -> int:
    B, M, L, D = query
    return 2 * B * M * L * key[2] * D


def _fine_product(query: torch.Size, parent_index: torch.Size) -> int:
    B, M, P, F, D = query
    return 2 * B * M * P * F * (parent_index[3] * F) * D


@register_flop_formula(torch.ops.quadview.coarse)
def _coarse_flops(query: torch.Size, key: torch.Size, *_: Any, **__: Any) -> int:
    return FORWARD_PRODUCTS * _coarse_product(query, key)


@register_flop_formula(torch.ops.quadview.coarse_backward)
def _coarse_backward_flops(
    _message: Any, _score: Any, query: torch.Size, key: torch.Size, *_: Any, **__: Any
) -> int:
    return BACKWARD_PRODUCTS * _coarse_product(query, key)


@register_flop_formula(torch.ops.quadview.fine)
def _fine_flops(
    query: torch.Size, _key: Any, _value: Any, parent_index: torch.Size, *_: Any, **__: Any
) -> int:
    return FORWARD_PRODUCTS * _fine_product(query, parent_index)


@register_flop_formula(torch.ops.quadview.fine_backward)
def _fine_backward_flops(*shapes: Any, **_: Any) -> int:
    return BACKWARD_PRODUCTS * _fine_product(shapes[2], shapes[5])
