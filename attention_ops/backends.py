"""Which implementation of the sparse ops runs: what is there, why not the others, force one.

reference: the specification, slow. portable: tiles of plain PyTorch, any device and dtype.
native: compiled C++, float32 and bfloat16 on CPU. triton and cuda: fused kernels for CUDA devices,
through Triton and in CUDA C++.
"""

import importlib
import math
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from attention_ops import chunked, native, reference
from attention_ops._checks import check_choice

NAMES = ("reference", "portable", "native", "triton", "cuda")
# Imported at the first call that asks for them: a program on a CPU pays for neither.
GPU_MODULES = {"triton": "attention_ops.triton_backend", "cuda": "attention_ops.cuda_backend"}
_REMEDIES = {
    "native": "build it with: python -m attention_ops build",
    "triton": "install Triton and use a CUDA device, or use the backend 'portable'",
    "cuda": "build it with: python -m attention_ops build --cuda, or use the backend 'portable'",
}


class Preference(NamedTuple):
    """Which GPU backend comes first for calls of a dtype and size."""

    dtype: torch.dtype
    rows: float  # for calls of at most so many queries, those of all images and heads counted
    order: tuple[str, ...]  # the first that can serve the call does; portable follows


# No GPU has been measured for this table. Triton stands first because it comes with PyTorch and
# needs no nvcc; `make bench-gpu` times both, and its outcome is to be written here.
PREFERENCES = (
    Preference(torch.float32, math.inf, ("triton", "cuda")),
    Preference(torch.float16, math.inf, ("triton", "cuda")),
    Preference(torch.bfloat16, math.inf, ("triton", "cuda")),
)

_forced: str | None = os.environ.get("QUADVIEW_BACKEND") or None  # checked where it is used


def backends() -> dict[str, str]:
    """Each backend with "ready" or the reason it is not there."""
    return {name: _missing(name) or "ready" for name in NAMES}


def current_backend(dtype: torch.dtype = torch.float32, device: str = "cpu") -> str:
    """The backend that the next call on tensors of this dtype and device will use.

    Raises:
        RuntimeError: the forced backend is not there or cannot take such tensors, or torch sees no such
            device.
    """
    return chosen_backend(torch.empty(1, 1, 1, 4, 32, dtype=dtype, device=device))


def check_forced(device: str) -> None:
    """Tells early, before any work, that what is forced cannot serve on a device.

    Raises:
        ValueError: QUADVIEW_BACKEND names no backend, or one that is not there or wants a GPU; QUADVIEW_ISA
            an instruction set that the kernels or the processor do not have.
    """
    if refused := native.set_refusal():
        raise ValueError(refused)
    if _forced is None:
        return
    try:
        _refuse_missing(_forced)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if _forced in GPU_MODULES and not (device.startswith("cuda") or _interprets()):
        raise ValueError(
            f"backend {_forced!r} takes tensors on CUDA, got the device {device!r}; use the backend "
            "'portable'"
        )


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Uses one backend inside the block.

    Raises:
        ValueError: no backend has that name.
        RuntimeError: that backend is not there; the message has the reason.
    """
    global _forced  # noqa: PLW0603  a ContextVar would break torch.compile(fullgraph=True)
    check_choice("backend", name, NAMES)
    _refuse_missing(name)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def implementation(query: Tensor, parent_index: Tensor | None = None) -> ModuleType:
    """The module whose functions shall serve a call of a sparse op.

    Args:
        query: (B, M, L, D) of a coarse level or (B, M, P, F, D) of a fine one.
        parent_index: (B, M, P, K) of a fine level.

    Raises:
        RuntimeError: the forced backend is not there or cannot take these tensors.
    """
    name = chosen_backend(query, parent_index)
    if name in GPU_MODULES:
        return _gpu_module(name)
    return {"reference": reference, "portable": chunked, "native": native}[name]


def chosen_backend(query: Tensor, parent_index: Tensor | None = None) -> str:
    """The name of the backend that serves a call; see `implementation`."""
    if _forced is not None:
        _refuse_missing(_forced)
        wanted = refusal(_forced, query, parent_index)
        if wanted is not None:
            raise RuntimeError(
                f"backend {_forced!r} {wanted}, got {_described(query)}; use the backend 'portable'"
            )
        return _forced
    for name in _order(query):
        if _missing(name) is None and refusal(name, query, parent_index) is None:
            return name
    return "portable"


def family(tensor: Tensor) -> str:
    """The backend whose relatives serve an op beside the sparse ones, by device and dtype.

    A backend that has no such op leaves it to portable PyTorch; the callers see to that.

    Raises:
        RuntimeError: the forced backend is not there or cannot take tensors of that device.
    """
    if _forced == "native":
        return chosen_backend(tensor)
    if _forced is not None:
        _refuse_missing(_forced)
        if _forced in GPU_MODULES and not (tensor.is_cuda or _interprets()):
            raise RuntimeError(
                f"backend {_forced!r} takes tensors on CUDA, got {_described(tensor)}; "
                "use the backend 'portable'"
            )
        return _forced
    if tensor.is_cuda:
        return "portable" if _missing("triton") else "triton"
    return chosen_backend(tensor)


def refusal(name: str, query: Tensor, parent_index: Tensor | None = None) -> str | None:
    """What tensors a backend that is there takes, when it cannot take these; else None."""
    if name == "native" and not (query.device.type == "cpu" and query.dtype in native.DTYPES):
        return f"takes {_listed(native.DTYPES)} on CPU"
    if name in GPU_MODULES:
        module = _gpu_module(name)
        if not module.serves(query, parent_index):
            return f"takes {_listed(module.DTYPES)} on CUDA with the fan-outs and channels it has"
    return None


def _order(query: Tensor) -> tuple[str, ...]:
    """Backends to try for a call, without portable, which takes everything."""
    if query.device.type == "cpu":
        return ("native",)
    if query.device.type == "cuda":
        rows = math.prod(query.shape[:-1])
        for preference in PREFERENCES:
            if preference.dtype == query.dtype and rows <= preference.rows:
                return preference.order
    return ()


def _missing(name: str) -> str | None:
    """Why a backend is not there, or None."""
    if name == "native":
        return native.LOAD_ERROR
    return _missing_on_gpu(name) if name in GPU_MODULES else None


@cache
def _missing_on_gpu(name: str) -> str | None:
    try:
        error: str | None = _gpu_module(name).LOAD_ERROR
    except ModuleNotFoundError as missing:
        return str(missing)
    if error is not None or (name == "triton" and _interprets()):
        return error
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    return _no_launcher() if name == "triton" else None


def _no_launcher() -> str | None:
    """Why Triton cannot build its launcher, a C file that it compiles at the first call, or None."""
    if os.name != "posix":  # elsewhere Triton brings a compiler
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler for its launcher (tried $CC, gcc, clang)"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    header = Path(sysconfig.get_path("include", scheme)) / "Python.h"
    return None if header.exists() else f"Triton needs {header}: install Python's headers"


@cache
def _gpu_module(name: str) -> ModuleType:
    return importlib.import_module(GPU_MODULES[name])


def _interprets() -> bool:
    """Whether Triton's interpreter runs its kernels, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _refuse_missing(name: str) -> None:
    check_choice("QUADVIEW_BACKEND", name, NAMES)
    reason = _missing(name)
    if reason is not None:
        raise RuntimeError(f"backend {name!r} is not there ({reason}); {_REMEDIES[name]}")


def _listed(dtypes: tuple[torch.dtype, ...]) -> str:
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _described(query: Tensor) -> str:
    return f"{query.dtype} {tuple(query.shape)} on {query.device}"
