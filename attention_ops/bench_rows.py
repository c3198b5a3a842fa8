"""How fast attention along rows is on this machine: `python -m attention_ops bench-rows`, 1 minute.

The rules are those of `attention_ops.bench`: one thread, CPU seconds, contenders take turns.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from attention_ops.bench import Contenders, cpu_times, say
from attention_ops.command import count, run_main
from attention_ops.cost import peak_memory
from attention_ops.mechanism import flat_heads
from attention_ops.relative_rows import distance_sines, relative_logits
from attention_ops.rows import RowQuadtree, RowSoftmax

HEADS, CHANNELS = 8, 128  # STTR's
ROWS = 16
WIDTHS = (160, 320, 640, 1280)
TOPK = (8, 8, 8)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops bench-rows", description=__doc__)
    parser.add_argument("--repeats", type=count, default=7, help="turns of each contender")
    repeats = parser.parse_args(argv).repeats
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            say(f"{ROWS} rows, {HEADS} heads x {CHANNELS // HEADS}, forward, no projections")
            for width in WIDTHS:
                _print_width(width, repeats)
    finally:
        torch.set_num_threads(threads)
    return 0


def _print_width(width: int, repeats: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, ROWS, width, CHANNELS, generator=generator) for _ in range(3))
    contenders: Contenders = {"STTR explicit": _explicit(q, k, v)}
    softmax = RowSoftmax(CHANNELS, HEADS, "self").eval()
    contenders["SDPA, rotary"] = partial(softmax.attend, q, k, v, None, None)
    for fan_out in (2, 4):
        tree = RowQuadtree(CHANNELS, HEADS, "self", topk=TOPK, fan_out=fan_out).eval()
        contenders[f"row tree, fan-out {fan_out}"] = partial(tree.attend, q, k, v, None, None)
    seconds = cpu_times(contenders, repeats)
    say(f"\n{width} tokens a row, top-K {TOPK}")
    for name, run in contenders.items():
        say(
            f"  {name:20s}{seconds[name] * 1e3:9.2f} ms "
            f"{seconds['STTR explicit'] / seconds[name]:7.1f} x explicit "
            f"{seconds['SDPA, rotary'] / seconds[name]:7.2f} x SDPA"
            f"{peak_memory(run) / 1e6:9.1f} MB at the peak"
        )


def _explicit(q: Tensor, k: Tensor, v: Tensor) -> Callable[[], Tensor]:
    """STTR's attention with its relative terms, logits of all rows at once (Li et al. 2021)."""
    width = q.shape[2]
    rows = [flat_heads(x.transpose(0, 1), HEADS) for x in (q, k, v)]  # (R, W, M, D)
    table = distance_sines(width, width, CHANNELS).unflatten(1, (HEADS, -1))

    def run() -> Tensor:
        logits = relative_logits(rows[0], rows[1], table, table)  # (M, R, W, W)
        return logits.softmax(-1) @ rows[2].permute(2, 0, 1, 3)

    return run


if __name__ == "__main__":
    raise SystemExit(run_main(main))
