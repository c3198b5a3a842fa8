"""Times of short calls on a GPU, and what the GPU reaches at best; on a CPU the same by the clock."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Call = Callable[[], object]
WARM_UP, TURNS, PER_GRAPH = 3, 20, 10
COPY_BYTES, MATRIX_SIDE = 1 << 31, 8192


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: medians over TURNS."""

    eager_ms: float  # with what Python and the launches take
    graph_ms: float | None  # replayed from a CUDA graph of PER_GRAPH calls; None where it cannot be
    spread: float  # (third quartile - first) / median of the eager times


def timing(call: Call, device: str, turns: int = TURNS) -> Timing:
    """Times a call that is repeated on the same inputs, which stay in the caches as in a network."""
    for _ in range(min(WARM_UP, turns)):
        call()
    eager = sorted(_milliseconds(call, device) for _ in range(turns))
    median = statistics.median(eager)
    spread = (eager[3 * turns // 4] - eager[turns // 4]) / median
    return Timing(median, _graph_ms(call, turns) if device == "cuda" else None, spread)


def peak_bytes(call: Call, device: str) -> int | None:
    """Bytes of the allocator at the peak of a call above what was held; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def ceilings(device: str, *, tiny: bool) -> dict[str, float]:
    """Bytes/s of a large copy, read and written counted, and FLOP/s of large products by dtype."""
    side = 64 if tiny else MATRIX_SIDE
    found = {"bytes_per_s": _copy_rate(1 << 12 if tiny else COPY_BYTES, device)}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        matrix = torch.randn(side, side, device=device).to(dtype)
        taken = timing(lambda matrix=matrix: matrix @ matrix, device, 5).eager_ms  # type: ignore[misc]
        found[str(dtype).removeprefix("torch.")] = 2 * side**3 / taken * 1e3
    return found


def _copy_rate(size: int, device: str) -> float:
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / timing(lambda: target.copy_(source), device, 5).eager_ms * 1e3


def _milliseconds(call: Call, device: str) -> float:
    if device != "cuda":
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))


def _graph_ms(call: Call, turns: int) -> float | None:
    """A call that asks the device for a value cannot be captured, and gives None."""
    graph = torch.cuda.CUDAGraph()
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            for _ in range(PER_GRAPH):
                call()
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    graph.replay()
    times = [_milliseconds(graph.replay, "cuda") for _ in range(turns)]
    return statistics.median(times) / PER_GRAPH
