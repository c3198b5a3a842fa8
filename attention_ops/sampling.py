"""Sampling as an op: bilinear samples of several maps, weighted and added up; the door to it.

message[b, q, m] = sum over l, k of weight[b, q, m, l, k] * bilinear(map l of head m at
location[b, q, m, l, k]) -- Deformable DETR, Zhu et al. 2021, eq. 3, the sum inside W_m. Knows
nothing of queries and how they choose locations.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from attention_ops import sampling_native, sampling_portable, sampling_triton
from attention_ops._checks import check_elements, check_same_device, check_shape
from attention_ops.backends import family

Sizes = Sequence[tuple[int, int]]

# Multiply-adds per point and channel. Forward: four corners and the weight (the paper's factor 5).
# Backward: inner products of the four corners with the gradient give those of weight and location,
# and the value's gradient gets four multiples of it.
FORWARD_PRODUCTS = 5
BACKWARD_PRODUCTS = 8


def sample_weighted(value: Tensor, sizes: Sizes, location: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of bilinear samples; zeros lie around every map.

    A location that is not finite gives zeros and gets no gradient.

    Args:
        value: (B, S, M, D), the cells of all L maps in turn, each in raster order.
        sizes: (H, W) of each map; the products add up to S.
        location: (B, Q, M, L, K, 2) x, y as fractions of the map: cell i of W has its centre at
            (i + 0.5) / W.
        weight: (B, Q, M, L, K).

    Returns:
        (B, Q, M, D) in the dtype of the value. Differentiable for value, location and weight.

    Raises:
        ValueError: a shape or device is wrong; the message names the argument, the wanted and the
            found.
    """
    shapes = check_shape("value", value, "B S M D")
    shapes = check_shape("location", location, "B Q M L K XY", shapes | {"L": len(sizes), "XY": 2})
    check_shape("weight", weight, "B Q M L K", shapes)
    check_elements("message", shapes["B"] * shapes["Q"] * shapes["M"] * shapes["D"])
    check_same_device(value=value, location=location, weight=weight)
    cells = sum(H * W for H, W in sizes)
    if cells != value.shape[1]:
        raise ValueError(f"sizes {list(sizes)} have {cells} cells, value has S={value.shape[1]}")
    wide = torch.promote_types(value.dtype, torch.float32)
    flat = [side for size in sizes for side in size]
    return _sample(value, flat, location.to(wide), weight.to(wide))


def _implementation(value: Tensor) -> ModuleType:
    """Who serves a call: compiled kernels where the backend of that name has them."""
    name = family(value)
    if name == "triton" and sampling_triton.serves(value):
        return sampling_triton
    return sampling_native if name == "native" else sampling_portable


@torch.library.custom_op("quadview::sample", mutates_args=())
def _sample(value: Tensor, sizes: Sequence[int], location: Tensor, weight: Tensor) -> Tensor:
    result: Tensor = _implementation(value).forward(value, _pairs(sizes), location, weight)
    return result


@torch.library.custom_op("quadview::sample_backward", mutates_args=())
def _sample_backward(
    grad: Tensor, value: Tensor, sizes: Sequence[int], location: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    run = _implementation(value).backward
    grads: tuple[Tensor, Tensor, Tensor] = run(grad, value, _pairs(sizes), location, weight)
    return grads


def _pairs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(sizes[::2], sizes[1::2], strict=True))


@_sample.register_fake
def _(value: Tensor, _sizes: Any, location: Tensor, _weight: Any) -> Tensor:
    return value.new_empty(location.shape[0], location.shape[1], *value.shape[2:])


@_sample_backward.register_fake
def _(_grad: Any, value: Tensor, _sizes: Any, location: Tensor, weight: Tensor) -> Any:
    return tuple(x.new_empty(x.shape) for x in (value, location, weight))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  torch's order
    value, ctx.sizes, location, weight = inputs
    ctx.save_for_backward(value, location, weight)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, location, weight = ctx.saved_tensors
    op = torch.ops.quadview.sample_backward
    of_value, of_location, of_weight = op(grad, value, ctx.sizes, location, weight)
    return of_value, None, of_location, of_weight


_sample.register_autograd(_gradient, setup_context=_save)


def _channel_points(value: torch.Size, weight: torch.Size) -> int:
    return weight.numel() * value[3]


@register_flop_formula(torch.ops.quadview.sample)
def _flops(value: torch.Size, _sizes: Any, _at: Any, weight: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * FORWARD_PRODUCTS * _channel_points(torch.Size(value), torch.Size(weight))


@register_flop_formula(torch.ops.quadview.sample_backward)
def _backward_flops(
    _grad: Any, value: torch.Size, _sizes: Any, _at: Any, weight: torch.Size, *_: Any, **__: Any
) -> int:
    return 2 * BACKWARD_PRODUCTS * _channel_points(torch.Size(value), torch.Size(weight))
