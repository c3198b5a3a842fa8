"""The Triton backend: fused kernels of the two sparse ops for CUDA devices, no nvcc needed.

Offers the four functions of `reference` for float32 (exact products, no tf32), float16 and
bfloat16, sums in float32. What `serves` does not take, and selections or candidates past what the
kernels hold, goes to `chunked`. Triton is imported at the first call; LOAD_ERROR says in one line
why it is not there.
"""

import importlib
import importlib.util
import math
import os
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from attention_ops import chunked
from attention_ops.triton_kernels import launch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LEAST_CAPABILITY = (8, 0)

LOAD_ERROR: str | None = (
    None if importlib.util.find_spec("triton") else "not installed: pip install triton"
)


def serves(query: Tensor, parent_index: Tensor | None = None) -> bool:
    """Whether the kernels take calls of these dtypes and sizes.

    Args:
        query: (B, M, L, D) of a coarse level or (B, M, P, F, D) of a fine one.
        parent_index: (B, M, P, K) of a fine level.
    """
    if LOAD_ERROR is not None or query.dtype not in DTYPES or not _on_device(query):
        return False
    D = query.shape[-1]
    fits = (
        query.numel() > 0
        and D <= launch.MAX_CHANNELS
        and math.prod(query.shape[:3]) <= launch.MAX_PROGRAMS
    )
    if query.ndim == 4 or parent_index is None:
        return fits
    return fits and query.shape[3] in launch.FAN_OUTS and _fits_fine(query, parent_index)


def coarse_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.coarse_forward`."""
    topk = min(topk, key.shape[2])
    if not (serves(query) and _fits_coarse(key, topk)):
        return chunked.coarse_forward(query, key, value, key_mask, topk, scale, variant)
    with torch.cuda.device_of(query):
        tensors = _ready(query, key, value), _ready_mask(key_mask)
        results = _kernel("coarse_forward").run(*tensors[0], tensors[1], topk, scale, variant)
    return _four(results)


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
    """As `reference.coarse_backward`."""
    if not (serves(query) and _fits_coarse(key, index.shape[-1])):
        return chunked.coarse_backward(
            grad_message, grad_score, query, key, value, key_mask, message, lse, index, scale,
            variant,
        )  # fmt: skip
    with torch.cuda.device_of(query):
        of_query, of_key, of_value = _kernel("coarse_backward").run(
            grad_message.to(query.dtype).contiguous(), grad_score.float().contiguous(),
            *_ready(query, key, value), _ready_mask(key_mask),
            *_ready(message, lse, index), scale, variant,
        )  # fmt: skip
    return of_query, of_key, of_value


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
    """As `reference.fine_forward`."""
    topk = min(topk, parent_index.shape[-1] * query.shape[3])
    if not (serves(query, parent_index) and _fits_slab(key) and topk <= launch.MAX_TOPK):
        inputs = (query, key, value, parent_index, parent_score, key_mask)
        return chunked.fine_forward(*inputs, topk, scale, variant)
    with torch.cuda.device_of(query):
        results = _kernel("fine_forward").run(
            *_ready(query, key, value, parent_index.int()), _ready_score(parent_score),
            _ready_mask(key_mask), topk, scale,
        )  # fmt: skip
    return _four(results)


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
    """As `reference.fine_backward`."""
    if not (serves(query, parent_index) and _fits_slab(key)):
        inputs = (query, key, value, parent_index, parent_score, key_mask)
        outputs = (message, lse, index)
        return chunked.fine_backward(grad_message, grad_score, *inputs, *outputs, scale, variant)
    with torch.cuda.device_of(query):
        *grads, of_score = _kernel("fine_backward").run(
            grad_message.to(query.dtype).contiguous(), grad_score.float().contiguous(),
            *_ready(query, key, value, parent_index.int()), _ready_score(parent_score),
            _ready_mask(key_mask), *_ready(message, lse, index), scale,
        )  # fmt: skip
    return _four((*grads, of_score if parent_score is None else of_score.to(parent_score.dtype)))


@cache
def _kernel(name: str) -> ModuleType:
    return importlib.import_module(f"attention_ops.triton_kernels.{name}")


def _on_device(query: Tensor) -> bool:
    if query.is_cuda:
        return torch.cuda.get_device_capability(query.device) >= LEAST_CAPABILITY
    return os.environ.get("TRITON_INTERPRET") == "1" and query.device.type == "cpu"


def _fits_fine(query: Tensor, parent_index: Tensor) -> bool:
    F, D = query.shape[3:]
    candidates = launch.padded_parents(parent_index.shape[-1], F) * F
    tile = candidates * launch.padded_channels(D)
    within = candidates <= launch.MAX_CANDIDATES and tile <= launch.MAX_TILE
    return parent_index.numel() > 0 and within


def _fits_coarse(key: Tensor, topk: int) -> bool:
    return key.shape[2] > 0 and _fits_slab(key) and topk <= launch.MAX_TOPK


def _fits_slab(key: Tensor) -> bool:
    programs = math.prod(key.shape[:3])
    return 0 < programs <= launch.MAX_PROGRAMS and math.prod(key.shape[2:]) < launch.MAX_SLAB


def _ready(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in tensors)


def _ready_mask(key_mask: Tensor | None) -> Tensor | None:
    return None if key_mask is None else key_mask.contiguous().view(torch.uint8)


def _ready_score(parent_score: Tensor | None) -> Tensor | None:
    return None if parent_score is None else parent_score.float().contiguous()


def _four(results: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, second, third, fourth = results
    return first, second, third, fourth
