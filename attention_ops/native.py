"""The compiled CPU backend: loads the library of `csrc` and calls it on tensors.

Offers the four functions of `reference`, for float32 and bfloat16 on the CPU; a fine level with
other than 2 or 4 children goes to `chunked`. Never required: LOAD_ERROR says in one line why the
library is not there, and calling without it raises that.
"""

import ctypes
import os
from pathlib import Path

import torch
from torch import Tensor

from attention_ops import build, chunked

DTYPES = (torch.float32, torch.bfloat16)
FAN_OUTS = (2, 4)
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")


class _Call(ctypes.Structure):
    """The same fields in the same order as `Call` in csrc/call.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("B", "M", "P", "R", "F", "D", "K", "topk")),
        *((name, ctypes.c_int64) for name in ("variant_a", "bfloat16", "threads")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "key_mask")),
        *((name, ctypes.c_void_p) for name in ("parent_index", "parent_score")),
        *((name, ctypes.c_void_p) for name in ("message", "lse", "index", "score")),
        *((name, ctypes.c_void_p) for name in ("grad_message", "grad_score")),
        *((name, ctypes.c_void_p) for name in ("grad_query", "grad_key", "grad_value")),
        ("grad_parent_score", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    )


def _open(path: Path) -> ctypes.CDLL:
    """The library at `path`.

    Raises:
        OSError: it cannot be loaded, or was built from other sources than the installed ones.
    """
    if not build.is_current(path):
        raise OSError(
            f"{path} was built from other sources than the installed ones; "
            "run `python -m attention_ops build`"
        )
    library = ctypes.CDLL(str(path))
    library.qv_isa.restype = ctypes.c_char_p
    library.qv_scratch_floats.restype = ctypes.c_int64
    library.qv_tree_floats.restype = ctypes.c_int64
    return library


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or None and the reason in one line."""
    reasons = []
    for path in build.library_paths():
        if not path.exists():
            continue
        try:
            return _open(path), None
        except (OSError, AttributeError) as error:
            reasons.append(f"load failed: {error}")
    if reasons:
        return None, "; ".join(reasons).replace("\n", " ")
    if build.find_compiler() is None:
        return None, "not built and no C++ compiler found (tried $CXX, c++, g++, clang++)"
    return None, "not built: run `python -m attention_ops build`"


_LIBRARY, LOAD_ERROR = _load()


def instruction_set() -> str:
    """What the kernels run on, of INSTRUCTION_SETS; QUADVIEW_ISA forces one."""
    return str(library().qv_isa().decode())


def set_refusal() -> str:
    """Why the kernels do not run on the instruction set that QUADVIEW_ISA names; nothing where they do."""
    wanted = os.environ.get("QUADVIEW_ISA")
    if not wanted or _LIBRARY is None or wanted == instruction_set():
        return ""
    return (
        f"QUADVIEW_ISA must be one of {', '.join(INSTRUCTION_SETS)} that this processor has, got "
        f"{wanted!r}; kernels run on {instruction_set()}"
    )


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
    query, key, value, key_mask = _ready(query, key, value, key_mask)
    call = _coarse_call(query, key, value, key_mask, min(topk, key.shape[2]), scale, variant)
    outputs = _forward_outputs(call, query)
    _run("qv_coarse_forward", call)
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
    query, key, value, key_mask = _ready(query, key, value, key_mask)
    call = _coarse_call(query, key, value, key_mask, index.shape[-1], scale, variant)
    kept = _backward_inputs(call, grad_message, grad_score, query, lse, index)
    grads = _gradients(call, query, key, value)
    _run("qv_coarse_backward", call)
    del kept
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
    if query.shape[3] not in FAN_OUTS:
        inputs = (query, key, value, parent_index, parent_score, key_mask)
        return chunked.fine_forward(*inputs, topk, scale, variant)
    query, key, value, key_mask = _ready(query, key, value, key_mask)
    parents = _ready_parents(parent_index, parent_score, variant)
    topk = min(topk, parent_index.shape[-1] * query.shape[3])
    call = _fine_call(query, key, value, key_mask, parents, topk, scale, variant)
    outputs = _forward_outputs(call, query)
    _run("qv_fine_forward", call)
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
    """As `reference.fine_backward`."""
    if query.shape[3] not in FAN_OUTS:
        inputs = (query, key, value, parent_index, parent_score, key_mask)
        outputs = (message, lse, index)
        return chunked.fine_backward(grad_message, grad_score, *inputs, *outputs, scale, variant)
    query, key, value, key_mask = _ready(query, key, value, key_mask)
    parents = _ready_parents(parent_index, parent_score, variant)
    call = _fine_call(query, key, value, key_mask, parents, index.shape[-1], scale, variant)
    kept = _backward_inputs(call, grad_message, grad_score, query, lse, index)
    grads = _gradients(call, query, key, value)
    grad_parent_score = query.new_empty(0)
    if variant == "A":
        grad_parent_score = torch.empty(parent_index.shape, dtype=torch.float32)
        call.grad_parent_score = grad_parent_score.data_ptr()
    _run("qv_fine_backward", call)
    del kept
    if parent_score is not None:
        grad_parent_score = grad_parent_score.to(parent_score.dtype)
    return *grads, grad_parent_score


def library() -> ctypes.CDLL:
    """The compiled library, for every file that calls into it.

    Raises:
        RuntimeError: it is not there; the message says why.
    """
    if _LIBRARY is None:
        raise RuntimeError(f"the native backend is not available: {LOAD_ERROR}")
    return _LIBRARY


def _ready(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The tensors as the library reads them, contiguous; refuses dtypes it has no kernels for."""
    if query.dtype not in DTYPES:
        raise TypeError(f"native needs float32 or bfloat16, got {query.dtype}; use the portable")
    mask = None if key_mask is None else key_mask.contiguous()
    return query.contiguous(), key.contiguous(), value.contiguous(), mask


def _ready_parents(
    parent_index: Tensor, parent_score: Tensor | None, variant: str
) -> tuple[Tensor, Tensor | None]:
    score = None
    if variant == "A" and parent_score is not None:
        score = parent_score.float().contiguous()
    return parent_index.int().contiguous(), score


def _coarse_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    topk: int,
    scale: float,
    variant: str,
) -> _Call:
    B, M, L, D = query.shape
    call = _Call(B=B, M=M, P=L, R=key.shape[2], F=1, D=D, K=0, topk=topk, scale=scale)
    return _set_common(call, query, key, value, key_mask, variant)


def _fine_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    parents: tuple[Tensor, Tensor | None],
    topk: int,
    scale: float,
    variant: str,
) -> _Call:
    B, M, P, F, D = query.shape
    index, score = parents
    K = index.shape[-1]
    call = _Call(B=B, M=M, P=P, R=key.shape[2], F=F, D=D, K=K, topk=topk, scale=scale)
    call.parent_index = index.data_ptr()
    call.parent_score = 0 if score is None else score.data_ptr()
    return _set_common(call, query, key, value, key_mask, variant)


def _set_common(
    call: _Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    variant: str,
) -> _Call:
    call.variant_a = variant == "A"
    call.bfloat16 = query.dtype == torch.bfloat16
    call.threads = torch.get_num_threads()
    call.query, call.key, call.value = query.data_ptr(), key.data_ptr(), value.data_ptr()
    call.key_mask = 0 if key_mask is None else key_mask.data_ptr()
    return call


def _forward_outputs(call: _Call, query: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = query.shape[:-1]
    message = torch.empty_like(query)
    lse = query.new_empty(rows, dtype=torch.float32)
    index = query.new_empty((*rows, call.topk), dtype=torch.int32)
    score_shape = index.shape if call.variant_a else (0,)
    score = query.new_empty(score_shape, dtype=torch.float32)
    call.message, call.lse = message.data_ptr(), lse.data_ptr()
    call.index, call.score = index.data_ptr(), score.data_ptr()
    return message, lse, index, score


def _backward_inputs(
    call: _Call,
    grad_message: Tensor,
    grad_score: Tensor,
    query: Tensor,
    lse: Tensor,
    index: Tensor,
) -> tuple[Tensor, ...]:
    """Puts what the backward reads into `call`; the tensors returned must outlive the call."""
    grad_message = grad_message.to(query.dtype).contiguous()
    grad_score = grad_score.float().contiguous()
    lse, index = lse.contiguous(), index.int().contiguous()
    call.grad_message, call.grad_score = grad_message.data_ptr(), grad_score.data_ptr()
    call.lse, call.index = lse.data_ptr(), index.data_ptr()
    return grad_message, grad_score, lse, index


def _gradients(
    call: _Call, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    call.grad_query, call.grad_key, call.grad_value = (grad.data_ptr() for grad in grads)
    return grads


def _run(name: str, call: _Call) -> None:
    """Calls the function `name`, with torch's allocator for its working memory."""
    functions, address = library(), ctypes.byref(call)
    coarse, backward = "coarse" in name, "backward" in name
    floats = functions.qv_scratch_floats(address, coarse, backward)
    scratch = torch.empty(floats, dtype=torch.float32)
    call.scratch = scratch.data_ptr()
    getattr(functions, name)(address)
