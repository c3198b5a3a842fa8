"""The sampling op on a GPU through Triton, float32, float16 and bfloat16. See `sampling`.

Sums are in float32. Gradients of the value are added up atomically, which rounds differently from
run to run, unless `torch.use_deterministic_algorithms` is on: then each cell sums a sorted list.
Triton is imported at the first call; LOAD_ERROR says in one line why it is not there.
"""

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attention_ops import triton_backend

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LOAD_ERROR = triton_backend.LOAD_ERROR

# Rows of D = 32 channels per program: 4 numbers of each corner a thread, enough loads in flight.
BLOCK_ELEMENTS = 512
WARPS = 4


def serves(value: Tensor) -> bool:
    """Whether the kernels take maps of this dtype, on the device that the value is on."""
    return value.dtype in DTYPES and LOAD_ERROR is None


def forward(
    value: Tensor, sizes: Sequence[tuple[int, int]], location: Tensor, weight: Tensor
) -> Tensor:
    """See `sampling.sample_weighted`."""
    message = value.new_empty(*weight.shape[:3], value.shape[3])
    value, location, weight = _ready(value, location, weight)
    _launch("sample_forward", (value, location, weight, message), value, sizes, weight)
    return message


def backward(
    grad: Tensor,
    value: Tensor,
    sizes: Sequence[tuple[int, int]],
    location: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, location and weight for `grad` (B, Q, M, D)."""
    dtype = value.dtype
    value, location, weight = _ready(value, location, weight)
    grad = grad.contiguous()
    of_location, of_weight = torch.empty_like(location), torch.empty_like(weight)
    in_lists = torch.are_deterministic_algorithms_enabled()
    corners = (*weight.shape, 4) if in_lists else (0,)
    token = weight.new_empty(corners, dtype=torch.int32)
    of_value = weight.new_empty(corners) if in_lists else weight.new_zeros(value.shape)
    tensors = (grad, value, location, weight, of_value, of_location, of_weight, token)
    _launch("sample_backward", tensors, value, sizes, weight, LISTS=in_lists)
    if in_lists:
        of_value = _summed_lists(grad, token, of_value, value)
    return of_value.to(dtype), of_location, of_weight


def _summed_lists(grad: Tensor, token: Tensor, factor: Tensor, value: Tensor) -> Tensor:
    """Gradient like `value` from the token and factor (B, Q, M, L, K, 4) of every corner."""
    of_value = factor.new_empty(value.shape)
    (B, S, M, D), (L, K) = value.shape, token.shape[3:5]
    in_order, order = token.flatten().sort(stable=True)
    wanted = torch.arange(B * S * M + 1, dtype=in_order.dtype, device=value.device)
    start = torch.searchsorted(in_order, wanted)
    with torch.cuda.device_of(value):
        _kernels().sum_lists[(B * S * M,)](
            grad, order, factor, start, of_value, L * K * 4, **list_settings(D)
        )  # fmt: skip
    return of_value


def _ready(value: Tensor, location: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return value.contiguous(), location.contiguous(), weight.contiguous()


def _launch(
    name: str,
    tensors: tuple[Tensor, ...],
    value: Tensor,
    sizes: Sequence[tuple[int, int]],
    weight: Tensor,
    **constants: Any,
) -> None:
    """Runs a kernel over all rows (B, Q, M) of `weight` on the device and stream of `value`."""
    B, Q, M, _, K = weight.shape
    (S, D), rows = (value.shape[1], value.shape[3]), B * Q * M
    launch = settings(D)
    flat = tuple(float(side) for size in sizes for side in size)
    if not rows:
        return
    with torch.cuda.device_of(value):
        getattr(_kernels(), name)[(-(-rows // launch["BLOCK_R"]),)](
            *tensors, flat, rows, S, Q, M=M, K=K, **launch, **constants
        )


def settings(D: int) -> dict[str, Any]:
    """Compile-time constants and launch options of sampling, forward and backward."""
    block_d = _power_of_2(D)
    block_r = max(BLOCK_ELEMENTS // block_d, 1)
    blocks = {"D": D, "BLOCK_R": block_r, "BLOCK_D": block_d}
    return blocks | {"num_warps": WARPS, "enable_fp_fusion": True}


def list_settings(D: int) -> dict[str, Any]:
    """The same of the sum over lists."""
    return {"D": D, "BLOCK_D": _power_of_2(D), "num_warps": 1, "enable_fp_fusion": True}


def _power_of_2(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()


@cache
def _kernels() -> Any:
    """The kernels; importing Triton takes a quarter of a second, so only who needs it does."""
    return importlib.import_module("attention_ops.triton_kernels.sampling")
