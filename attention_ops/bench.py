"""How fast the sparse ops are on this machine: `python -m attention_ops bench`, under 3 minutes.

One thread. Times are CPU seconds of this process, so neighbours on the machine cost nothing but
what they do to the caches; all contenders of a table take turns, and the lower quartile counts.
Ratios between rows of one run are what to read.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from attention_ops import chunked, native
from attention_ops.command import count, run_main
from attention_ops.cost import peak_memory
from attention_ops.linear import NORM_FLOOR
from attention_ops.mechanism import flat_heads
from attention_ops.quadtree import QuadtreeAttention
from attention_ops.softmax import SoftmaxAttention

HEADS, CHANNELS_PER_HEAD, CHILDREN = 8, 32, 4
SCALE = CHANNELS_PER_HEAD**-0.5
# name, parent grid, parents per query, tokens selected by the level (its next level's K)
FINE_CASES = (("80 x 60 tokens", 40 * 30, 16, 16), ("144 x 144 tokens", 72 * 72, 8, 8))
MODULE_MAP = (60, 80)  # ScanNet at stride 8
MODULE_TOPK = (32, 16, 16)
Contenders = dict[str, Callable[[], object]]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops bench", description=__doc__)
    parser.add_argument("--repeats", type=count, default=5, help="turns of each contender")
    repeats = parser.parse_args(argv).repeats
    if native.LOAD_ERROR is not None:
        say(f"native backend: {native.LOAD_ERROR}")
        return 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            _bench(repeats)
    finally:
        torch.set_num_threads(threads)
    return 0


def _bench(repeats: int) -> None:
    say(f"{_processor()}, {native.instruction_set()}, 1 thread, torch {torch.__version__}")
    matrix = torch.randn(1024, 1024)
    sgemm = 2 * 1024**3 / cpu_times({"sgemm": lambda: matrix @ matrix}, repeats)["sgemm"]
    say(f"sgemm reaches {sgemm / 1e9:.0f} GFLOP/s")
    for name, parents, topk, selected in FINE_CASES:
        for spread in ("scattered", "local"):
            say(f"\nfine level, {name}, {topk} parents per query, {spread}")
            _print_fine(parents, topk, selected, spread == "local", repeats, sgemm)
    H, W = MODULE_MAP
    say(f"\nwhole attention, {W} x {H} tokens, top-K {MODULE_TOPK}, forward")
    _print_module(repeats)
    say(f"\none call on a handful of tokens: {_call_overhead() * 1e6:.0f} us")


def cpu_times(contenders: Contenders, repeats: int) -> dict[str, float]:
    """Lower quartile of the CPU seconds of each contender; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: sorted(seconds)[len(seconds) // 4] for name, seconds in taken.items()}


def official_fine(
    query: Tensor, key: Tensor, value: Tensor, index: Tensor, topk: int
) -> tuple[Tensor, Tensor]:
    """The fine level as the official QTAttB computes it, in plain PyTorch.

    Every candidate has its own int64 index (the official CUDA ops read them so; the values' are
    repeated for each child besides, which is left out here in its favour). Gathered keys, scores,
    softmax, gathered values and message are tensors of their own, and top-K always runs.

    Args:
        query: (B, P, F, M, D).
        key: (B, S, M, D).
        value: (B, S, M, D).
        index: (B, P, N, M) int64, the N candidate tokens of every parent.
        topk: tokens to select.

    Returns:
        message (B, P, F, M, D), positions of the selected (B, P, F, topk, M).
    """
    B, P, N, M = index.shape
    flat = index.flatten(1, 2)[..., None].expand(-1, -1, -1, key.shape[3])
    key_of = key.gather(1, flat).view(B, P, N, M, -1)
    scores = torch.einsum("bpfmd,bpnmd->bpfnm", query, key_of) * SCALE
    probability = scores.softmax(3)
    chosen = probability.topk(topk, dim=3).indices
    value_of = value.gather(1, flat).view(B, P, N, M, -1)
    return torch.einsum("bpfnm,bpnmd->bpfmd", probability, value_of), chosen


def random_parents(parents: int, topk: int, local: bool, generator: torch.Generator) -> Tensor:
    """Parents (1, M, P, K) of every query: anywhere, or near the query's own place."""
    window = 4 * topk if local else parents
    order = torch.rand(1, HEADS, parents, window, generator=generator).argsort(-1)[..., :topk]
    first = torch.arange(parents) * (parents - window) // parents
    return (order + first[:, None]).sort(-1).values.int()


def _print_fine(
    parents: int, topk: int, selected: int, local: bool, repeats: int, sgemm: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, HEADS, parents, CHILDREN, CHANNELS_PER_HEAD)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    index = random_parents(parents, topk, local, generator)
    outputs = native.fine_forward(q, k, v, index, None, None, 0, SCALE, "B")
    grad = torch.randn(shape, generator=generator)
    forward = (q, k, v, index, None, None)
    backward = (grad, outputs[3], *forward, *outputs[:3], SCALE, "B")
    # The same tokens in the official layout, (B, N, heads, D)
    query, key, value = (x.flatten(2, 3).transpose(1, 2).contiguous() for x in (q, k, v))
    query = query.unflatten(1, (parents, CHILDREN))
    tokens = (index.long()[..., None] * CHILDREN + torch.arange(CHILDREN)).flatten(-2)
    candidates = tokens.permute(0, 2, 3, 1).contiguous()
    seconds = cpu_times(
        {
            "official formulation": lambda: official_fine(query, key, value, candidates, selected),
            "portable": lambda: chunked.fine_forward(*forward, 0, SCALE, "B"),
            "native": lambda: native.fine_forward(*forward, 0, SCALE, "B"),
            f"native, selects {selected}": lambda: native.fine_forward(
                *forward, selected, SCALE, "B"
            ),
            "portable backward": lambda: chunked.fine_backward(*backward),
            "native backward": lambda: native.fine_backward(*backward),
        },
        repeats,
    )
    # Rates of what the maths needs (5 products against 2), beside what the machine can: a matrix
    # product, and reading one head's keys and values in order. Caches can beat the latter.
    product = 2 * q.numel() * topk * CHILDREN
    gathered = 8 * index.numel() * CHILDREN * CHANNELS_PER_HEAD
    slab = torch.randn(2 * k[0, 0].numel())
    reading = 4 * slab.numel() / cpu_times({"read": lambda: slab @ slab}, 9)["read"]
    say(f"  reading a head's {4 * slab.numel() / 1e6:.1f} MB in order: {reading / 1e9:.0f} GB/s")
    for name, taken in seconds.items():
        scale = 2.5 if "backward" in name else 1.0  # 5 products against 2
        note = f"{seconds['official formulation'] / taken:6.1f} x official"
        if "backward" in name:
            note = f"{seconds['portable backward'] / taken:6.1f} x portable"
        rate, read = 2 * scale * product / taken, scale * gathered / taken
        say(
            f"  {name:22s}{taken * 1e3:9.2f} ms  {note:18s}{rate / 1e9:6.1f} GFLOP/s ="
            f"{rate / sgemm:4.0%} of sgemm {read / 1e9:6.1f} GB/s ={read / reading:5.0%} of reading"
        )


def loftr_linear(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Linear attention as LoFTR computes it, eagerly; all (B, L, M, D)."""
    phi_query, phi_key = (torch.nn.functional.elu(x) + 1 for x in (query, key))
    value = value / value.shape[1]
    summary = torch.einsum("nshd,nshv->nhdv", phi_key, value)
    norm = 1 / (torch.einsum("nlhd,nhd->nlh", phi_query, phi_key.sum(1)) + NORM_FLOOR)
    message = torch.einsum("nlhd,nhdv,nlh->nlhv", phi_query, summary, norm)
    return message * value.shape[1]


def _print_module(repeats: int) -> None:
    generator = torch.Generator().manual_seed(0)
    channels = HEADS * CHANNELS_PER_HEAD
    q, k, v = (torch.randn(1, *MODULE_MAP, channels, generator=generator) for _ in range(3))
    quadtree = QuadtreeAttention(channels, HEADS, "self", topk=MODULE_TOPK).eval()
    softmax = SoftmaxAttention(channels, HEADS, "self").eval()
    tokens = [flat_heads(x, HEADS) for x in (q, k, v)]
    contenders: Contenders = {
        "SDPA": lambda: softmax.attend(q, k, v, None, None),
        "LoFTR linear": lambda: loftr_linear(*tokens),
        "quadtree B": lambda: quadtree.attend(q, k, v, None, None),
    }
    seconds = cpu_times(contenders, repeats)
    for name, run in contenders.items():
        say(
            f"  {name:24s}{seconds[name] * 1e3:9.2f} ms  {seconds['SDPA'] / seconds[name]:6.1f} x "
            f"SDPA  {seconds['LoFTR linear'] / seconds[name]:6.2f} x linear"
            f"{peak_memory(run) / 1e6:9.1f} MB at the peak"
        )


def _call_overhead() -> float:
    tiny = torch.zeros(1, 1, 4, 16)
    calls = 500
    run = lambda: [native.coarse_forward(tiny, tiny, tiny, None, 0, 1.0, "B") for _ in range(calls)]  # noqa: E731
    return cpu_times({"call": run}, 5)["call"] / calls


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def say(line: str) -> None:
    """Prints at once: a run takes minutes."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(run_main(main))
