"""The CUDA C++ backend: calls the kernels of csrc/cuda on tensors of a CUDA device.

Offers the four functions of `reference`, for float32, float16 and bfloat16 with sums in float32.
What the kernels have no instance for goes to `chunked`. Never required: LOAD_ERROR says in one line
why the library is not there, and calling without it raises that.

The library has a plain C interface (pointers, sizes, a stream) and is loaded by ctypes, not an
extension on torch's stable ABI: one that takes torch's stream in C++ either links libtorch_cuda, and
then does not load where torch has no CUDA, or is built for one version of torch upwards. So the
current stream and the device guard are taken here, in Python, the ops are registered by `_library`
like those of all backends, and the same file serves every version of Python and torch. The price
is that it needs a driver no older than the nvcc that built it.

Gradients of keys and values are added up by atomic additions in float32, whose order is not fixed;
under `torch.use_deterministic_algorithms` the fine level goes through an inverse index instead.
The coarse level needs no atomics and always gives the same bits.
"""

import ctypes

import torch
from torch import Tensor

from attention_ops import chunked, cuda_library
from attention_ops.cuda_call import (
    DTYPES,
    CudaCall,
    Kernel,
    aligned,
    fits,
    launch,
    make_call,
    point,
)

__all__ = ["DTYPES", "LOAD_ERROR", "serves"]

WIDTHS = (16, 32, 64, 128)  # channels of a head
FAN_OUTS = (2, 4)
MIN_CAPABILITY = (8, 0)
MAX_FACTORS = 2**31 - 1  # the gather numbers the factors of a slab with int32


_LIBRARY, LOAD_ERROR = cuda_library.load()
_DEVICE = "cuda"  # the type of device whose tensors are taken


def serves(query: Tensor, parent_index: Tensor | None = None) -> bool:
    """Whether there are kernels for such a query, (B, M, L, D) or (B, M, P, F, D).

    Where a row of logits is too long for the shared memory of the device, a call that is served
    here still goes to `chunked`; with the fine level's parents that is known, and false.
    """
    fan_out = query.shape[3] if query.dim() == 5 else None
    if query.device.type != _DEVICE or query.dtype not in DTYPES or query.shape[-1] not in WIDTHS:
        return False
    if fan_out is not None and fan_out not in FAN_OUTS:
        return False
    if query.is_cuda and torch.cuda.get_device_capability(query.device) < MIN_CAPABILITY:
        return False
    if parent_index is None or LOAD_ERROR is not None:
        return True
    call = _fine_call(query, query, parent_index, 0, 1.0, "B")
    return fits(library(), Kernel.FINE_BACKWARD, call)


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
    call = _coarse_call(query, key, min(topk, key.shape[2]), scale, variant)
    if not _is_served(query, Kernel.COARSE_FORWARD, call):
        return chunked.coarse_forward(query, key, value, key_mask, topk, scale, variant)
    kept = _point_at_inputs(call, query, key, value, key_mask)
    outputs = _forward_outputs(call, kept[0])
    launch(library(), Kernel.COARSE_FORWARD, call)
    return outputs


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
    """As `reference.coarse_backward`; `message` is not needed."""
    call = _coarse_call(query, key, index.shape[-1], scale, variant)
    if not _is_served(query, Kernel.COARSE_QUERIES, call):
        inputs = (query, key, value, key_mask, message, lse, index)
        return chunked.coarse_backward(grad_message, grad_score, *inputs, scale, variant)
    query, key, value, *kept = _point_at_inputs(call, query, key, value, key_mask)
    kept += _point_at_saved(call, grad_message, grad_score, query, lse, index)
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    delta = torch.empty_like(lse, memory_format=torch.contiguous_format)
    point(call, grad_query=grads[0], grad_key=grads[1], grad_value=grads[2], delta=delta)
    launch(library(), Kernel.COARSE_QUERIES, call)
    launch(library(), Kernel.COARSE_KEYS, call)
    return grads


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
    candidates = parent_index.shape[-1] * query.shape[3]
    call = _fine_call(query, key, parent_index, min(topk, candidates), scale, variant)
    if not _is_served(query, Kernel.FINE_FORWARD, call):
        inputs = (query, key, value, parent_index, parent_score, key_mask)
        return chunked.fine_forward(*inputs, topk, scale, variant)
    kept = _point_at_inputs(call, query, key, value, key_mask)
    kept += _point_at_parents(call, parent_index, parent_score, variant)
    outputs = _forward_outputs(call, kept[0])
    launch(library(), Kernel.FINE_FORWARD, call)
    return outputs


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
    """As `reference.fine_backward`; `message` is not needed."""
    call = _fine_call(query, key, parent_index, index.shape[-1], scale, variant)
    ordered = torch.are_deterministic_algorithms_enabled()
    if not _is_served(query, Kernel.FINE_BACKWARD, call) or (ordered and _factors(call) is None):
        inputs = (query, key, value, parent_index, parent_score, key_mask, message, lse, index)
        return chunked.fine_backward(grad_message, grad_score, *inputs, scale, variant)
    query, key, value, *kept = _point_at_inputs(call, query, key, value, key_mask)
    kept += _point_at_parents(call, parent_index, parent_score, variant)
    kept += _point_at_saved(call, grad_message, grad_score, query, lse, index)
    grad_query, grad_parent_score = torch.empty_like(query), query.new_empty(0)
    if parent_score is not None:
        grad_parent_score = query.new_empty(parent_index.shape, dtype=torch.float32)
    point(call, grad_query=grad_query, grad_parent_score=grad_parent_score)
    grads = _gathered(call, key, value, parent_index) if ordered else _added_up(call, key, value)
    if parent_score is not None:
        grad_parent_score = grad_parent_score.to(parent_score.dtype)
    return grad_query, *grads, grad_parent_score


def library() -> ctypes.CDLL:
    """The CUDA library.

    Raises:
        RuntimeError: it is not there; the message says why.
    """
    if _LIBRARY is None:
        raise RuntimeError(f"the cuda backend is not available: {LOAD_ERROR}")
    return _LIBRARY


def _is_served(query: Tensor, kernel: Kernel, call: CudaCall) -> bool:
    return serves(query) and fits(library(), kernel, call)


def _added_up(call: CudaCall, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of key and value by atomic additions."""
    grad_key = torch.zeros_like(key, dtype=torch.float32)
    grad_value = torch.zeros_like(value, dtype=torch.float32)
    point(call, grad_key=grad_key, grad_value=grad_value)
    launch(library(), Kernel.FINE_BACKWARD, call)
    return grad_key.to(key.dtype), grad_value.to(value.dtype)


def _gathered(
    call: CudaCall, key: Tensor, value: Tensor, parent_index: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in a fixed order: every block leaves its factors, then each key takes them up."""
    order, start = inverse_index(parent_index, key.shape[2])
    shape = (*parent_index.shape, call.F, call.F)
    logit_gradient = key.new_empty(shape, dtype=torch.float32)
    share = torch.empty_like(logit_gradient)
    grad_key, grad_value = torch.empty_like(key), torch.empty_like(value)
    point(call, grad_key=grad_key, grad_value=grad_value, order=order, start=start)
    point(call, logit_gradient=logit_gradient, share=share)
    launch(library(), Kernel.FINE_BACKWARD, call)
    launch(library(), Kernel.FINE_GATHER, call)
    return grad_key, grad_value


def _factors(call: CudaCall) -> int | None:
    """How many factors the blocks of a slab leave; None where those are too many to number."""
    count = int(call.P * call.K * call.F * call.F)
    return count if count <= MAX_FACTORS else None


def inverse_index(parent_index: Tensor, parents: int) -> tuple[Tensor, Tensor]:
    """Who names each parent.

    Args:
        parent_index: (B, M, P, K) int32, numbers in [0, parents), -1 = none.
        parents: R.

    Returns:
        order (B, M, P * K) int32, the entries p * K + k sorted by the parent they name, in ascending
        order for each; start (B, M, R + 1) int32, where the entries of each parent begin in it.
    """
    named, order = parent_index.flatten(2).sort(dim=-1, stable=True)
    numbers = torch.arange(parents + 1, dtype=named.dtype, device=named.device)
    numbers = numbers.expand(*named.shape[:2], -1).contiguous()
    return order.int(), torch.searchsorted(named, numbers, out_int32=True)


def _coarse_call(query: Tensor, key: Tensor, topk: int, scale: float, variant: str) -> CudaCall:
    B, M, L, D = query.shape
    return make_call((B, M, L, key.shape[2], 1, D, 0, topk), query, scale, variant)


def _fine_call(
    query: Tensor, key: Tensor, parent_index: Tensor, topk: int, scale: float, variant: str
) -> CudaCall:
    B, M, P, F, D = query.shape
    sizes = (B, M, P, key.shape[2], F, D, parent_index.shape[-1], topk)
    return make_call(sizes, query, scale, variant)


def _point_at_inputs(
    call: CudaCall, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None
) -> list[Tensor]:
    """Puts the inputs into `call`; the tensors returned, the first three of them, must outlive it."""
    query, key, value = aligned(query), aligned(key), aligned(value)
    mask = None if key_mask is None else key_mask.contiguous()
    point(call, query=query, key=key, value=value, key_mask=mask)
    return [query, key, value] + ([] if mask is None else [mask])


def _point_at_parents(
    call: CudaCall, parent_index: Tensor, parent_score: Tensor | None, variant: str
) -> list[Tensor]:
    index = parent_index.int().contiguous()
    score = None
    if variant == "A" and parent_score is not None:
        score = parent_score.float().contiguous()
    point(call, parent_index=index, parent_score=score)
    return [index] + ([] if score is None else [score])


def _point_at_saved(
    call: CudaCall,
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    lse: Tensor,
    index: Tensor,
) -> list[Tensor]:
    """Puts what the backward reads into `call`; the tensors returned must outlive it."""
    grad_message = aligned(grad_message.to(query.dtype))
    grad_score = grad_score.float().contiguous()
    lse, index = lse.contiguous(), index.int().contiguous()
    point(call, grad_message=grad_message, grad_score=grad_score, lse=lse, index=index)
    return [grad_message, grad_score, lse, index]


def _forward_outputs(call: CudaCall, query: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = query.shape[:-1]
    message = torch.empty_like(query)
    lse = query.new_empty(rows, dtype=torch.float32)
    index = query.new_empty((*rows, call.topk), dtype=torch.int32)
    score_shape = index.shape if call.variant_a else (0,)
    score = query.new_empty(score_shape, dtype=torch.float32)
    point(call, message=message, lse=lse, index=index, score=score)
    return message, lse, index, score
