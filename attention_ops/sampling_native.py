"""The compiled sampling op, float32 and bfloat16 on the CPU. See `sampling`.

The functions lie in the library that `native` loads; a library of older sources is refused there.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_ops import native


class _Call(ctypes.Structure):
    """The same fields in the same order as `Sampling` in csrc/sampling.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("B", "S", "M", "D", "Q", "L", "K", "threads")),
        *((name, ctypes.c_void_p) for name in ("sizes", "value", "location", "weight")),
        *((name, ctypes.c_void_p) for name in ("message", "grad_message")),
        *((name, ctypes.c_void_p) for name in ("grad_value", "grad_location", "grad_weight")),
    )


def forward(
    value: Tensor, sizes: Sequence[tuple[int, int]], location: Tensor, weight: Tensor
) -> Tensor:
    """See `sampling.sample_weighted`."""
    inputs = _contiguous(value, location, weight)
    message = torch.empty(*weight.shape[:3], value.shape[3])
    _run("qv_sample", inputs, sizes, message=message)
    return message.to(value.dtype)


def backward(
    grad: Tensor,
    value: Tensor,
    sizes: Sequence[tuple[int, int]],
    location: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, location and weight for `grad` (B, Q, M, D)."""
    inputs = _contiguous(value, location, weight)
    of_value = torch.zeros_like(inputs[0])
    of_location, of_weight = (torch.empty_like(x) for x in inputs[1:])
    _run(
        "qv_sample_backward",
        inputs,
        sizes,
        grad_message=grad.float().contiguous(),
        grad_value=of_value,
        grad_location=of_location,
        grad_weight=of_weight,
    )
    return of_value.to(value.dtype), of_location, of_weight


def _contiguous(value: Tensor, location: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return value.float().contiguous(), location.contiguous(), weight.contiguous()


def _run(
    name: str,
    inputs: tuple[Tensor, Tensor, Tensor],
    sizes: Sequence[tuple[int, int]],
    **outputs: Tensor,
) -> None:
    value, location, weight = inputs
    B, Q, M, L, K = weight.shape
    call = _Call(B=B, S=value.shape[1], M=M, D=value.shape[3], Q=Q, L=L, K=K)
    call.threads = torch.get_num_threads()
    flat = (ctypes.c_int64 * (2 * L))(*(side for size in sizes for side in size))
    call.sizes = ctypes.addressof(flat)
    given = {"value": value, "location": location, "weight": weight} | outputs
    for field, tensor in given.items():
        setattr(call, field, tensor.data_ptr())
    getattr(native.library(), name)(ctypes.byref(call))
