"""Does a backend compute what the reference does? Outputs and gradients against float64.

Random inputs are rounded to the dtype first, so that only arithmetic is compared. Which tokens are
selected may differ where two are as good as tied: their ranks are compared, not their numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_ops.backends import implementation, use_backend

# Largest error allowed, as a share of the largest number of the same tensor.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
HIDDEN_SHARE = 0.3  # of the keys of a masked case


@dataclass(frozen=True)
class OpCase:
    """One call of a sparse op."""

    level: str  # "coarse" or "fine"
    variant: str  # "A" or "B"
    queries: int  # L of a coarse level, P of a fine one
    keys: int  # S, or R
    parents: int = 0  # K; fine level only
    topk: int = 0
    fan_out: int = 4
    channels: int = 32  # D
    batch: int = 2
    heads: int = 2
    masked: bool = False

    def __str__(self) -> str:
        if self.level == "coarse":
            size = f"{self.queries} x {self.keys}"
        else:
            size = f"{self.queries} x {self.fan_out} of {self.keys}, K {self.parents}"
        masked = ", masked" if self.masked else ""
        return f"{self.level} {self.variant} {size}, top {self.topk}, D {self.channels}{masked}"


# Awkward sizes, few enough that all of them take a second on a CPU.
QUICK_CASES = tuple(
    OpCase(level, variant, queries, keys, parents, topk, fan_out, masked=masked)
    for level, queries, keys, parents, fan_out in (
        ("coarse", 37, 29, 0, 4),
        ("fine", 13, 11, 5, 4),
        ("fine", 9, 17, 8, 2),
    )
    for variant in ("A", "B")
    for topk, masked in ((0, False), (4, True))
)


@dataclass(frozen=True)
class OpTensors:
    """Arguments of the call of a case."""

    query: Tensor  # (B, M, L, D) or (B, M, P, F, D)
    key: Tensor  # (B, M, S, D) or (B, M, R, F, D)
    value: Tensor  # as key
    parent_index: Tensor | None  # (B, M, P, K) int32
    parent_score: Tensor | None  # (B, M, P, K), variant A
    key_mask: Tensor | None  # (B, S) or (B, R, F)
    grad_message: Tensor  # as query
    grad_score: Tensor | None  # as the score

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "OpTensors":
        """The same on a device, all but scores, indices and masks in a dtype."""
        wide = torch.promote_types(dtype, torch.float32)
        names = {"query": dtype, "key": dtype, "value": dtype, "grad_message": dtype}
        names |= {"parent_score": wide, "grad_score": wide}
        moved = {name: x.to(device) for name, x in vars(self).items() if x is not None}
        moved |= {name: moved[name].to(kind) for name, kind in names.items() if name in moved}
        return replace(self, **moved)


def random_tensors(case: OpCase, generator: torch.Generator) -> OpTensors:
    """Random arguments for a case, float64 on the CPU."""
    B, M, F = case.batch, case.heads, case.fan_out
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    mask: Tensor | None = None
    if case.masked:
        mask = torch.rand(B, case.keys, F, generator=generator) > HIDDEN_SHARE
    rows: tuple[int, ...] = (B, M, case.queries)
    keys: tuple[int, ...] = (B, M, case.keys, case.channels)
    if case.level == "coarse":
        index = score = None
        mask = None if mask is None else mask[..., 0]
    else:
        rows = (*rows, F)
        keys = (B, M, case.keys, F, case.channels)
        order = torch.rand(B, M, case.queries, case.keys, generator=generator).argsort(-1)
        index = order[..., : case.parents].int()
        if case.masked:
            index = index.masked_fill(torch.rand(index.shape, generator=generator) < 0.1, -1)
        score = torch.rand(index.shape, generator=generator, dtype=torch.float64)
    selected = min(case.topk, case.keys if index is None else case.parents * F)
    is_a = case.variant == "A"
    return OpTensors(
        query=draw(*rows, case.channels),
        key=draw(*keys),
        value=draw(*keys),
        parent_index=index,
        parent_score=score if is_a else None,
        key_mask=mask,
        grad_message=draw(*rows, case.channels),
        grad_score=draw(*rows, selected) if is_a else None,
    )


def run(case: OpCase, tensors: OpTensors) -> dict[str, Tensor]:
    """Outputs by name, and gradients as "grad_<input>", of the backend that is chosen.

    Calls the backend without the op round it, whose first call imports torch.compile.
    """
    query, key, value, index = tensors.query, tensors.key, tensors.value, tensors.parent_index
    backend = implementation(query, index)
    settings = (case.channels**-0.5, case.variant)
    inputs: tuple[Tensor | None, ...] = (query, key, value, tensors.key_mask)
    forward, backward = backend.coarse_forward, backend.coarse_backward
    if index is not None:
        inputs = (query, key, value, index, tensors.parent_score, tensors.key_mask)
        forward, backward = backend.fine_forward, backend.fine_backward
    message, lse, selected, score = forward(*inputs, case.topk, *settings)
    grad_score = query.new_empty(0) if tensors.grad_score is None else tensors.grad_score
    outputs = (message, lse, selected)
    grads = backward(tensors.grad_message, grad_score, *inputs, *outputs, *settings)
    found = {"message": message, "rank": _rank_of_selected(selected, score, tensors)}
    names = ("grad_query", "grad_key", "grad_value", "grad_parent_score")
    return found | {name: grad for name, grad in zip(names, grads, strict=False) if grad.numel()}


def errors(
    case: OpCase, backend: str, dtype: torch.dtype, device: str, seed: int = 0
) -> dict[str, float]:
    """Largest error of each output and gradient against float64, as a share of its largest number.

    The reference runs on the same device. NaN where a result has one and the reference has none.
    """
    tensors = random_tensors(case, torch.Generator().manual_seed(seed)).to(device, dtype)
    with use_backend(backend):
        found = run(case, tensors)
    with use_backend("reference"):
        wanted = run(case, tensors.to(device, torch.float64))
    return {name: _relative(found[name], x) for name, x in wanted.items() if x.numel()}


def worst_errors(
    backend: str, dtype: torch.dtype, device: str, cases: tuple[OpCase, ...] = QUICK_CASES
) -> Iterator[tuple[OpCase, str, float]]:
    """Of every case that the backend takes the largest error, and the output that has it."""
    for case in cases:
        found = errors(case, backend, dtype, device)
        name = max(found, key=lambda key: (found[key] != found[key], found[key]))
        yield case, name, found[name]


def _rank_of_selected(index: Tensor, score: Tensor | None, tensors: OpTensors) -> Tensor:
    """What the selected tokens were chosen by, best first; 0 where none is left."""
    if score is not None and score.numel():
        return score.sort(-1, descending=True).values
    query = tensors.query.double()
    key = tensors.key.double()
    if tensors.parent_index is not None:
        key, index, query = key.flatten(2, 3), index.flatten(2, 3), query.flatten(2, 3)
    token = index.long().clamp(min=0).flatten(2)[..., None].expand(-1, -1, -1, key.shape[-1])
    chosen = key.gather(2, token).unflatten(2, index.shape[2:])  # (B, M, L, K, D)
    logit = torch.einsum("bmld,bmlkd->bmlk", query, chosen) * key.shape[-1] ** -0.5
    return logit.masked_fill(index < 0, 0).sort(-1, descending=True).values


def _relative(found: Tensor, wanted: Tensor) -> float:
    scale = wanted.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    return float((found.double() - wanted).abs().amax() / scale)
