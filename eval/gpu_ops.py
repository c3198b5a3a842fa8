"""What `eval.bench_gpu` checks and times of the sparse ops: parity, fine levels, coarse levels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attention_ops import parity
from attention_ops.backends import backends, implementation, refusal, use_backend
from attention_ops.bench import official_fine
from attention_ops.parity import OpCase

Row = dict[str, Any]
Job = tuple[str, Callable[[], Row]]  # a name that a resumed run knows it by, and what to do
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CONTENDERS = ("portable", "native", "triton", "cuda")

# Sizes of KERNELS.md: parents P and K of a level, and how many tokens it selects for the next.
FINE = {
    "S-mid, 40 x 30": OpCase("fine", "B", 300, 300, 32, 16, batch=1, heads=8),
    "S-fine, 80 x 60": OpCase("fine", "B", 1200, 1200, 16, 0, batch=1, heads=8),
    "M-mid, 72 x 72": OpCase("fine", "B", 1296, 1296, 16, 8, batch=1, heads=8),
    "M-fine, 144 x 144": OpCase("fine", "B", 5184, 5184, 8, 0, batch=1, heads=8),
}
COARSE = {
    "S, 20 x 15": OpCase("coarse", "B", 300, 300, topk=32, batch=1, heads=8),
    "M, 36 x 36": OpCase("coarse", "B", 1296, 1296, topk=16, batch=1, heads=8),
}
TINY_FINE = {"tiny": OpCase("fine", "B", 6, 6, 3, 2, batch=1, heads=2, channels=16)}
TINY_COARSE = {"tiny": OpCase("coarse", "B", 9, 9, topk=2, batch=1, heads=2, channels=16)}


@dataclass(frozen=True)
class Bench:
    """Where the sections run, and how much of them."""

    device: str
    tiny: bool  # every path on sizes that take no time
    turns: int


def ready_contenders(device: str) -> list[str]:
    """Backends that are there and take tensors of this device."""
    states = backends()
    tokens = torch.empty(1, 1, 1, 4, 32, device=device)
    return [x for x in CONTENDERS if states[x] == "ready" and refusal(x, tokens) is None]


def check_jobs(bench: Bench) -> Iterator[Job]:
    """Parity of every backend with float64: all variants in float32, then other dtypes and widths.

    Triton compiles two kernels for each, so that not every product of the choices is tried.
    """
    few = tuple(case for case in parity.QUICK_CASES if case.masked and case.fan_out == 4)
    wide = [replace(few[1], channels=D) for D in (16, 64, 128)]
    wide += [replace(few[-1], channels=D) for D in (16, 64, 128)]
    plan = [(torch.float32, case) for case in (*parity.QUICK_CASES, *wide)]
    plan += [(dtype, case) for dtype in DTYPES[1:] for case in (*few, *wide[1::3])]
    for backend in ready_contenders(bench.device):
        for dtype, case in plan[:: 9 if bench.tiny else 1]:
            if backend == "native" and dtype == torch.float16:
                continue
            name = f"{backend} {_short(dtype)} {case}"
            yield name, partial(_check, backend, dtype, case, bench)


def _check(backend: str, dtype: torch.dtype, case: OpCase, bench: Bench) -> Row:
    found = parity.errors(case, backend, dtype, bench.device)
    output = max(found, key=lambda name: (found[name] != found[name], found[name]))
    error, allowed = found[output], parity.TOLERANCES[dtype]
    row = {"backend": backend, "dtype": _short(dtype), "case": str(case), "output": output}
    return row | {"error": error, "allowed": allowed, "agrees": error <= allowed}


def fine_jobs(bench: Bench, time: Callable[..., Row]) -> Iterator[Job]:
    """Forward and backward of the fine levels, with what the official formulation takes."""
    yield from _op_jobs(TINY_FINE if bench.tiny else FINE, bench, time)


def coarse_jobs(bench: Bench, time: Callable[..., Row]) -> Iterator[Job]:
    """The same of the coarse levels; the official one is product, softmax, top-K and product."""
    yield from _op_jobs(TINY_COARSE if bench.tiny else COARSE, bench, time)


def _op_jobs(cases: dict[str, OpCase], bench: Bench, time: Callable[..., Row]) -> Iterator[Job]:
    for name, case in cases.items():
        for dtype in (torch.float32, torch.bfloat16):
            for contender in ("official", *ready_contenders(bench.device)):
                for direction in ("forward", "backward"):
                    job = partial(_timed, contender, dtype, case, direction, bench, time)
                    yield f"{name} {_short(dtype)} {contender} {direction}", job


def _timed(
    contender: str,
    dtype: torch.dtype,
    case: OpCase,
    direction: str,
    bench: Bench,
    time: Callable[..., Row],
) -> Row:
    tensors = parity.random_tensors(case, torch.Generator().manual_seed(0))
    tensors = tensors.to(bench.device, dtype)
    make = _official_call if contender == "official" else partial(_backend_call, contender)
    flops, moved = _needs(case, tensors.query.element_size(), direction)
    return time(make(case, tensors, direction), flops=flops, moved=moved, dtype=_short(dtype))


def _backend_call(
    name: str, case: OpCase, tensors: parity.OpTensors, direction: str
) -> Callable[[], object]:
    """One call of a backend's own function."""
    query, key, value, index = tensors.query, tensors.key, tensors.value, tensors.parent_index
    with use_backend(name):
        backend = implementation(query, index)
    inputs: tuple[Tensor | None, ...] = (query, key, value, None)
    forward, backward = backend.coarse_forward, backend.coarse_backward
    if index is not None:
        inputs = (query, key, value, index, None, None)
        forward, backward = backend.fine_forward, backend.fine_backward
    settings = (case.channels**-0.5, case.variant)
    if direction == "forward":
        return partial(forward, *inputs, case.topk, *settings)
    message, lse, selected, _ = forward(*inputs, case.topk, *settings)
    none = query.new_empty(0)
    return partial(backward, tensors.grad_message, none, *inputs, message, lse, selected, *settings)


def _official_call(case: OpCase, tensors: parity.OpTensors, direction: str) -> Callable[[], object]:
    """The same level as the official QTAttB computes it, one PyTorch operation after the other."""
    leaves = [x.detach().requires_grad_(direction == "backward") for x in _raster(tensors)]
    query, key, value = leaves
    selected = max(case.topk, 1)
    if tensors.parent_index is None:
        run = partial(_official_coarse, query, key, value, selected)
    else:
        child = torch.arange(case.fan_out, device=query.device)
        tokens = tensors.parent_index.long()[..., None] * case.fan_out + child
        candidates = tokens.flatten(-2).permute(0, 2, 3, 1).contiguous()
        run = partial(official_fine, query, key, value, candidates, selected)
    if direction == "forward":
        return run
    message = run()[0]
    grad = torch.randn_like(message)
    return lambda: torch.autograd.grad(message, leaves, grad, retain_graph=True)


def _raster(tensors: parity.OpTensors) -> list[Tensor]:
    """Query, key and value with heads last but one: (B, L, M, D), queries in blocks (B, P, F, M, D)."""
    query, key, value = tensors.query, tensors.key, tensors.value
    if tensors.parent_index is None:
        return [x.transpose(1, 2).contiguous() for x in (query, key, value)]
    flat = [x.flatten(2, 3).transpose(1, 2).contiguous() for x in (key, value)]
    return [query.permute(0, 2, 3, 1, 4).contiguous(), *flat]


def _official_coarse(query: Tensor, key: Tensor, value: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    scores = torch.einsum("blmd,bsmd->blsm", query, key) * query.shape[-1] ** -0.5
    probability = scores.softmax(2)
    chosen = probability.topk(topk, dim=2).indices
    return torch.einsum("blsm,bsmd->blmd", probability, value), chosen


def _needs(case: OpCase, element: int, direction: str) -> tuple[int, int]:
    """FLOPs of the products and the fewest bytes through device memory of one call."""
    queries = case.batch * case.heads * case.queries
    keys = case.batch * case.heads * case.keys
    candidates, rows = case.keys, queries
    if case.level == "fine":
        candidates, rows, keys = (
            case.parents * case.fan_out,
            queries * case.fan_out,
            keys * case.fan_out,
        )
    product = 2 * rows * candidates * case.channels
    index = 4 * queries * case.parents
    once = element * case.channels * (2 * rows + 2 * keys) + 4 * rows * (1 + case.topk) + index
    if direction == "forward":
        return 2 * product, once
    return 5 * product, 2 * once


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
