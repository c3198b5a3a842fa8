"""Calls into the CUDA library: the struct that describes a call, launching, errors in words.

Knows pointers and sizes; what they mean stands in `cuda_backend`, and in csrc/cuda/call.h.
"""

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # in the order of DType in csrc/cuda/call.h
ALIGNMENT = 16  # bytes; the kernels read rows in pieces of that size


class Kernel(IntEnum):
    """The same numbers as in csrc/cuda/kernels.h."""

    FINE_FORWARD = 0
    FINE_BACKWARD = 1
    FINE_GATHER = 2
    COARSE_FORWARD = 3
    COARSE_QUERIES = 4
    COARSE_KEYS = 5


class CudaCall(ctypes.Structure):
    """The same fields in the same order as `CudaCall` in csrc/cuda/call.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("B", "M", "P", "R", "F", "D", "K", "topk")),
        *((name, ctypes.c_int64) for name in ("variant_a", "dtype", "device")),
        ("scale", ctypes.c_double),
        ("stream", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "key_mask")),
        *((name, ctypes.c_void_p) for name in ("parent_index", "parent_score")),
        *((name, ctypes.c_void_p) for name in ("message", "lse", "index", "score")),
        *((name, ctypes.c_void_p) for name in ("grad_message", "grad_score")),
        *((name, ctypes.c_void_p) for name in ("grad_query", "grad_key", "grad_value")),
        *((name, ctypes.c_void_p) for name in ("grad_parent_score", "delta")),
        *((name, ctypes.c_void_p) for name in ("logit_gradient", "share", "order", "start")),
    )


def open_library(path: Path) -> ctypes.CDLL:
    """The library at `path`, with the types of its functions.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it lacks a function.
    """
    library = ctypes.CDLL(str(path))
    library.qvc_shared_bytes.restype = ctypes.c_int64
    library.qvc_shared_limit.restype = ctypes.c_int64
    library.qvc_error.restype = ctypes.c_char_p
    library.qvc_launch.restype = ctypes.c_int32
    for name in ("qvc_runtime_version", "qvc_driver_version"):
        getattr(library, name).restype = ctypes.c_int32
    return library


def make_call(sizes: Sequence[int], query: Tensor, scale: float, variant: str) -> CudaCall:
    """A call with its sizes (B, M, P, R, F, D, K, topk) and settings, on the query's device.

    The stream is the one that torch would use there now.
    """
    dtype = DTYPES.index(query.dtype) if query.dtype in DTYPES else -1
    call = CudaCall(*sizes, variant_a=variant == "A", dtype=dtype, scale=scale)
    if query.is_cuda:
        call.device = query.device.index
        call.stream = torch.cuda.current_stream(query.device).cuda_stream
    return call


def point(call: CudaCall, **tensors: Tensor | None) -> None:
    """Puts the addresses of contiguous tensors into `call`; they must outlive it."""
    for name, tensor in tensors.items():
        setattr(call, name, None if tensor is None else tensor.data_ptr())


def aligned(tensor: Tensor) -> Tensor:
    """The tensor as the kernels read it: contiguous and at a multiple of 16 bytes."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def fits(library: ctypes.CDLL, kernel: Kernel, call: CudaCall) -> bool:
    """Whether the device has the shared memory that a block of this kernel needs."""
    needed = int(library.qvc_shared_bytes(ctypes.c_int32(kernel), ctypes.byref(call)))
    return 0 <= needed <= _shared_limit(library, call.device)


@cache
def _shared_limit(library: ctypes.CDLL, device: int) -> int:
    limit = int(library.qvc_shared_limit(ctypes.c_int32(device)))
    if limit < 0:
        raise RuntimeError(f"CUDA device {device} does not answer: {error_text(library, -limit)}")
    return limit


def launch(library: ctypes.CDLL, kernel: Kernel, call: CudaCall) -> None:
    """Launches a kernel; returns before it has run.

    Raises:
        RuntimeError: the launch failed; the message has CUDA's words.
    """
    with _device_guard(call):
        error = int(library.qvc_launch(ctypes.c_int32(kernel), ctypes.byref(call)))
    if error:
        raise RuntimeError(
            f"the CUDA kernel {kernel.name.lower()} could not be launched on device "
            f"{call.device}: {error_text(library, error)}"
        )


def error_text(library: ctypes.CDLL, error: int) -> str:
    """What an error number of the library means."""
    return f"{library.qvc_error(ctypes.c_int32(error)).decode()} (error {error})"


def _device_guard(call: CudaCall) -> AbstractContextManager[object]:
    # Emulated kernels run where CUDA never was asked for.
    return torch.cuda.device(call.device) if torch.cuda.is_initialized() else nullcontext()
