"""What attention costs: FLOPs, peak memory and time of contenders that take turns, at several sizes.

A contender is a forward pass, or a training step, of one attention call or of a whole network. FLOPs are counted
by torch's counter with our formulas, and for single calls also by arithmetic; memory is the sum of the
profiler's memory events on a CPU and the allocator's peak on CUDA; time is the median over turns.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attention_ops import analytic_flops, build_attention, flops, peak_memory

MATERIALISED = "materialised"  # softmax with its whole score matrix in memory, as LoFTR writes it
# A score matrix is held about so many times at once: scores, their softmax, and in training both gradients.
COPIES = {"forward": 2, "training": 4}
Grid = tuple[int, int]


@dataclass(frozen=True)
class Contender:
    """Something whose cost is measured at one size."""

    name: str
    step: Callable[[], object]  # one forward pass or training step
    parameters: int
    analytic_flops: int | None = None  # of a forward pass, by formula


@dataclass(frozen=True)
class CostRow:
    """What one contender cost at one size."""

    name: str
    pass_name: str  # "forward" or "training"
    tokens: int  # of one image or map
    flops: int | None = None  # None: it was not run
    analytic_flops: int | None = None
    peak_bytes: int | None = None
    median_s: float | None = None
    spread_s: float | None = None  # between the quartiles
    parameters: int | None = None
    not_run: str | None = None  # why there are no figures


@dataclass(frozen=True)
class AttentionCase:
    """A single attention call.

    Attributes:
        names: mechanisms of `attention_ops`, and "materialised".
        channels: C.
        heads: M.
        kind: "self" or "cross".
        topk: kept keys per level of QuadTree attention, coarsest first.
        dtype: of weights and maps.
        device: where they lie.
        batch: B.
        limit_bytes: contenders that need more for score matrices are not run.
    """

    names: tuple[str, ...]
    channels: int = 256
    heads: int = 8
    kind: str = "cross"
    topk: tuple[int, ...] = (32, 16, 16)
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    batch: int = 1
    limit_bytes: int = 4 << 30


def attention_rows(
    case: AttentionCase, grids: Sequence[Grid], pass_name: str, seconds: float
) -> Iterator[CostRow]:
    """Costs of every contender at every grid; at one grid they take turns for about `seconds`."""
    for grid in grids:
        tokens = grid[0] * grid[1]
        contenders = []
        for name in case.names:
            why = too_large(case, name, case.heads * tokens**2, pass_name)
            if why is not None:
                yield CostRow(name, pass_name, tokens, not_run=why)
            else:
                contenders.append(_attention(case, name, grid, pass_name))
        yield from measured(contenders, pass_name, tokens, seconds, case.device)


def too_large(case: AttentionCase, name: str, scores: int, pass_name: str) -> str | None:
    """Why a contender is not run that lays out so many `scores` for one batch entry; None: it is run."""
    need = COPIES[pass_name] * case.batch * scores * case.dtype.itemsize
    if name != MATERIALISED or need <= case.limit_bytes:
        return None
    return f"score matrices need {need / 1e9:.1f} GB"


def _attention(case: AttentionCase, name: str, grid: Grid, pass_name: str) -> Contender:
    """One attention call on random maps; the same maps for all names."""
    settings: dict[str, Any] = {"topk": case.topk} if name == "quadtree" else {}
    known = "softmax" if name == MATERIALISED else name
    torch.manual_seed(0)
    module = build_attention(known, case.channels, case.heads, case.kind, **settings)  # type: ignore[arg-type]
    module = module.to(case.device, case.dtype).train(pass_name == "training")
    generator = torch.Generator().manual_seed(1)
    maps = [
        torch.randn(case.batch, case.channels, *grid, generator=generator).to(
            case.device, case.dtype, memory_format=torch.channels_last
        )
        for _ in range(2 if case.kind == "cross" else 1)
    ]
    step = step_of(module, (maps[0], maps[-1]), pass_name)
    if name == MATERIALISED:
        step = with_score_matrix(step)
    return Contender(name, step, parameters_of(module), case.batch * analytic_flops(module, grid))


def step_of(module: nn.Module, inputs: tuple[Tensor, ...], pass_name: str) -> Callable[[], object]:
    """A forward pass of `module` without gradients, or a forward and backward pass with all of them."""
    if pass_name == "forward":

        def forward() -> object:
            with torch.no_grad():
                return module(*inputs)

        return forward
    watched = tuple(tensor.requires_grad_() for tensor in inputs)

    def training() -> None:
        module(*watched).sum().backward()
        module.zero_grad()
        for tensor in watched:
            tensor.grad = None

    return training


def with_score_matrix(step: Callable[[], object]) -> Callable[[], object]:
    """`step` with the score matrices of its attention laid out in memory."""

    def materialised() -> object:
        with sdpa_kernel(SDPBackend.MATH):
            return step()

    return materialised


def parameters_of(module: nn.Module) -> int:
    """Learned numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def measured(
    contenders: Sequence[Contender], pass_name: str, tokens: int, seconds: float, device: str
) -> Iterator[CostRow]:
    """A row for each contender; they take turns until `seconds` are over, at least three each."""
    counts = [(flops(c.step), peak_memory_of(c.step, device)) for c in contenders]
    times = interleaved_times([c.step for c in contenders], seconds, device)
    for contender, (counted, peak), taken in zip(contenders, counts, times, strict=True):
        lower, median, upper = statistics.quantiles(taken, n=4)
        yield CostRow(
            name=contender.name,
            pass_name=pass_name,
            tokens=tokens,
            flops=counted,
            analytic_flops=contender.analytic_flops if pass_name == "forward" else None,
            peak_bytes=peak,
            median_s=median,
            spread_s=upper - lower,
            parameters=contender.parameters,
        )


def peak_memory_of(step: Callable[[], object], device: str) -> int:
    """Bytes at the peak of one step, on top of what lay there before."""
    if torch.device(device).type == "cuda":
        # peak_memory looks at its arguments to know the device
        return peak_memory(lambda _: step(), torch.empty(0, device=device))
    return peak_memory(step)


def interleaved_times(
    steps: Sequence[Callable[[], object]], seconds: float, device: str
) -> list[list[float]]:
    """Seconds of each turn of each step."""
    times: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + seconds
    while len(times) and (len(times[0]) < 3 or time.perf_counter() < end):
        for step, taken in zip(steps, times, strict=True):
            _wait_for(device)
            start = time.perf_counter()
            step()
            _wait_for(device)
            taken.append(time.perf_counter() - start)
    return times


def _wait_for(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def crossover(rows: Iterable[CostRow], first: str, second: str, figure: str) -> float | None:
    """Tokens from which `first` costs less than `second` for good, between measured sizes on a log scale.

    None where it does not at the largest size, or already does at the smallest.

    Args:
        rows: of one pass.
        first: name of a contender.
        second: name of another.
        figure: "flops", "peak_bytes" or "median_s".
    """
    cost: dict[str, dict[int, float]] = {first: {}, second: {}}
    for row in rows:
        value = getattr(row, figure)
        if row.name in cost and value:
            cost[row.name][row.tokens] = float(value)
    shared = sorted(set(cost[first]) & set(cost[second]))
    ratios = [cost[first][tokens] / cost[second][tokens] for tokens in shared]
    dearer = [number for number, ratio in enumerate(ratios) if ratio >= 1]
    if not dearer or dearer[-1] == len(shared) - 1:
        return None
    last = dearer[-1]
    low, high = (torch.tensor(ratios[n]).log().item() for n in (last, last + 1))
    share = low / (low - high)
    return float(shared[last] * (shared[last + 1] / shared[last]) ** share)
