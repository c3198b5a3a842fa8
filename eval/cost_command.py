"""`python -m eval cost`: FLOPs, memory and time of attention mechanisms, or of whole networks, side by side.

Writes cost.json (a row for each contender and size, with the machine), cost.md and cost.png.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from data_scripts.command_line import run_command

if TYPE_CHECKING:
    from rich.table import Table

    from eval.cost import CostRow

PROG = "python -m eval cost"
Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]


@dataclass(frozen=True)
class Arguments:
    """What attention costs: FLOPs, peak memory and time, measured in turns in one run."""

    what: Literal["attention", "matcher", "stereo"] = "attention"
    """A single attention call, or the network `small` of matching or stereo with each attention in it."""
    mechanisms: Words = ("quadtree", "linear", "softmax", "materialised")
    """Mechanisms of attention_ops; softmax is PyTorch's scaled_dot_product_attention, materialised the same
    with the whole score matrix in memory, as LoFTR writes it."""
    sides: tuple[int, ...] = (24, 36, 48, 72, 96, 144)
    """Sides of the square token grids; of networks the image is 8 (stereo: 4) times as large."""
    topk: tuple[int, ...] = (32, 16, 16)
    """Kept keys per level of QuadTree attention, coarsest level first."""
    channels: int = 256
    """Of the maps of a single call."""
    heads: int = 8
    """Of a single call."""
    kind: Literal["self", "cross"] = "cross"
    """Of a single call."""
    passes: tuple[Literal["forward", "training"], ...] = ("forward",)
    """Inference, a training step with all gradients, or both."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights and maps."""
    device: str = "cpu"
    """Where: cpu or cuda."""
    batch: int = 1
    """Maps or pairs at once."""
    seconds: float = 4.0
    """How long contenders take turns at each size, at least three turns each."""
    limit_gb: float = 4.0
    """Contenders whose score matrices need more memory are named and not run."""
    accuracies: Path | None = None
    """JSON object of accuracies by mechanism, for a picture of accuracy against FLOPs."""
    out: Path = Path("out/cost")
    """Folder for cost.json, cost.md and the pictures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 for an input that is not as it must be."""
    return run_command(PROG, lambda: show(tyro.cli(Arguments, prog=PROG, args=argv)))


def show(arguments: Arguments) -> None:
    """Measures, and prints the table and where the files are."""
    from eval.console import print_tables

    print_tables([measure(arguments)])
    print(f"{arguments.out / 'cost.json'}, {arguments.out / 'cost.png'}")


def measure(arguments: Arguments) -> "Table":
    """Measures, writes the files, gives the table.

    Raises:
        ValueError: an unknown mechanism, a size below 1, or accuracies that are no JSON object of numbers.
        RuntimeError: the device is not there.
    """
    from tqdm import tqdm

    from data_scripts.atomic import write_text
    from eval.cost_picture import draw_against_accuracy, draw_costs
    from eval.record import write_record
    from eval.tables import markdown, terminal_table

    accuracies = _accuracies(arguments.accuracies)
    _check(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list(tqdm(_rows(arguments), "cost", unit="row", disable=None))
    write_record(arguments.out / "cost.json", settings=arguments, rows=rows)
    lines = [cells(row) for row in rows]
    write_text(arguments.out / "cost.md", markdown(HEADINGS, lines))
    draw_costs(rows, _title(arguments), arguments.out / "cost.png")
    if accuracies:
        draw_against_accuracy(rows, accuracies, arguments.out / "accuracy.png")
    return terminal_table(HEADINGS, lines, title=_title(arguments), wrap=True)


def _check(arguments: Arguments) -> None:
    import torch

    from attention_ops import MECHANISMS
    from eval.cost import MATERIALISED

    known = {
        "attention": [*MECHANISMS, MATERIALISED],
        "matcher": ["quadtree", "linear", "softmax", MATERIALISED],
        "stereo": ["quadtree", "linear", "softmax", MATERIALISED],
    }[arguments.what]
    for name in arguments.mechanisms:
        if name not in known:
            raise ValueError(f"mechanisms of {arguments.what} are {', '.join(known)}, got {name!r}")
    if not arguments.sides or min(arguments.sides) < 1:
        raise ValueError(f"--sides must be 1 or more tokens, got {arguments.sides}")
    if torch.device(arguments.device).type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {arguments.device}: torch finds no CUDA device")


def _rows(arguments: Arguments) -> "Iterator[CostRow]":
    import torch

    from eval.cost import AttentionCase, attention_rows
    from eval.cost_networks import network_rows

    case = AttentionCase(
        names=arguments.mechanisms,
        channels=arguments.channels,
        heads=arguments.heads,
        kind=arguments.kind,
        topk=arguments.topk,
        dtype=getattr(torch, arguments.dtype),
        device=arguments.device,
        batch=arguments.batch,
        limit_bytes=int(arguments.limit_gb * 2**30),
    )
    grids = [(side, side) for side in sorted(set(arguments.sides))]
    for pass_name in dict.fromkeys(arguments.passes):
        if arguments.what == "attention":
            yield from attention_rows(case, grids, pass_name, arguments.seconds)
        else:
            yield from network_rows(arguments.what, case, grids, pass_name, arguments.seconds)


def _accuracies(path: Path | None) -> dict[str, float]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
        return {str(name): float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: wanted a JSON object of numbers by mechanism, got {error}"
        ) from error


def _title(arguments: Arguments) -> str:
    what = {
        "attention": f"one {arguments.kind} attention call, {arguments.channels} channels, "
        f"{arguments.heads} heads, top-K {'/'.join(map(str, arguments.topk))}",
        "matcher": "the matcher `small` with each attention in it",
        "stereo": "the stereo network `small` with each attention in it",
    }[arguments.what]
    return f"{what}; {arguments.dtype}, batch {arguments.batch}, {arguments.device}"


HEADINGS = ("pass", "tokens", "mechanism", "GFLOP", "by formula", "peak MB", "ms", "+-", "weights")


def cells(row: "CostRow") -> list[str]:
    """What the table says of a row, under HEADINGS."""
    start = [row.pass_name, str(row.tokens), row.name]
    if row.flops is None:
        return [*start, row.not_run or "", "", "", "", "", ""]
    assert row.peak_bytes is not None
    assert row.median_s is not None
    assert row.spread_s is not None
    formula = "" if row.analytic_flops is None else f"{row.analytic_flops / 1e9:.3f}"
    figures = [f"{row.flops / 1e9:.3f}", formula, f"{row.peak_bytes / 1e6:.1f}"]
    times = [f"{1e3 * row.median_s:.1f}", f"{1e3 * row.spread_s:.1f}"]
    return [*start, *figures, *times, str(row.parameters)]
