"""`python -m eval ablation`: the same small matcher trained with each attention under one budget.

Prints what each reaches on held-out synthetic pairs and on the development sets, with the spread over
seeds, beside FLOPs, memory and time; writes ablation.json, ablation.md and ablation.png. A run that was
stopped goes on where it was.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from data_scripts.command_line import check_counts, run_command

if TYPE_CHECKING:
    from eval.ablation import Accuracy
    from eval.cost import CostRow

PROG = "python -m eval ablation"
Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]


@dataclass(frozen=True)
class Arguments:
    """What each attention buys: trainings of the matcher `small` under one budget, and their cost."""

    photos: Path
    """Folder of photographs that the training pairs are made from."""
    data: Path | None = None
    """Folder of the development sets (pose/, homography/); without it, synthetic pairs only."""
    mechanisms: Words = (
        "quadtree_b",
        "quadtree_a",
        "linear",
        "softmax",
        "spatial_reduction",
        "deformable",
    )
    """Mechanisms of attention_ops; quadtree_a and quadtree_b are the two variants of QuadTree attention,
    spatial_reduction is PVT's."""
    seeds: tuple[int, ...] = (0, 1)
    """One training each; the data of a seed are the same for all mechanisms."""
    steps: int = 300
    """Optimiser steps of a training."""
    batch: int = 4
    """Pairs in a step."""
    side: int = 160
    """Of the square training crops, in pixels."""
    learning_rate: float = 1e-3
    """Peak of AdamW's."""
    start: str = "small"
    """Weights of the preset small (name or path) whose trunk and fine stage all begin from; none: all from
    nothing, which needs a larger budget."""
    pairs: int = 20
    """Pairs of each development set, evenly spread over it."""
    checks: int = 16
    """Validation batches of held-out synthetic pairs of 256 x 256."""
    cost_size: tuple[int, int] = (480, 640)
    """Height and width of the images that the cost is measured on."""
    device: str = "cpu"
    """Where to train and measure: cpu or cuda."""
    threads: int = 0
    """Of torch; 0 = as many as torch thinks."""
    out: Path = Path("out/ablation")
    """Folder for the runs and the results."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 for an input that is not as it must be."""
    return run_command(
        PROG, lambda: show(tyro.cli(Arguments, prog=PROG, args=argv, description=__doc__))
    )


def show(arguments: Arguments) -> None:
    """Runs the trainings, writes the files and prints the table."""
    from eval.console import print_tables
    from eval.tables import terminal_table

    accuracies, costs = ablate(arguments)
    names, *lines = table(accuracies, costs)
    _write(arguments, accuracies, costs, [names, *lines])
    print_tables([terminal_table(names, lines, title=_protocol(arguments), wrap=True)])
    print(arguments.out / "ablation.json")


def ablate(arguments: Arguments) -> "tuple[list[Accuracy], list[CostRow]]":
    """Trains, scores and measures.

    Raises:
        FileNotFoundError: photographs, start or data are not there.
        ValueError: an unknown mechanism, or a count below 1.
    """
    import cv2
    import torch
    from tqdm import tqdm

    from eval.ablation import Budget, accuracy_of, config_of, trained_weights
    from matching.predictor import weights_path

    for name in arguments.mechanisms:
        config_of(name)
    check_counts(arguments, "steps", "batch", "side", "pairs", "checks")
    if not arguments.seeds:
        raise ValueError("--seeds must be at least one number, got none")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    start = None if arguments.start == "none" else weights_path(arguments.start)
    numbers = (arguments.steps, arguments.batch, arguments.side, arguments.learning_rate)
    rest = (arguments.device, arguments.checks)
    budget = Budget(arguments.photos, arguments.out, start, *numbers, *rest)
    runs = [(name, seed) for seed in arguments.seeds for name in arguments.mechanisms]
    # All trainings first, OpenCV on one thread: a loader forked after it has started threads would hang.
    cv2.setNumThreads(0)
    trained = [
        trained_weights(budget, name, seed)
        for name, seed in tqdm(runs, "trainings", unit="run", disable=None)
    ]
    accuracies = [
        accuracy_of(weights, name, seed, arguments.data, arguments.pairs)
        for (name, seed), weights in zip(runs, trained, strict=True)
    ]
    return accuracies, _costs(arguments)


def _costs(arguments: Arguments) -> "list[CostRow]":
    from eval.ablation import config_of
    from eval.cost_networks import coarse_costs

    configs = {name: config_of(name) for name in arguments.mechanisms}
    return coarse_costs(configs, arguments.cost_size, arguments.device)


def table(accuracies: "Sequence[Accuracy]", costs: "Sequence[CostRow]") -> list[list[str]]:
    """Headings, then a line for each mechanism: mean over seeds ± sample standard deviation."""
    sets = list(accuracies[0].auc)
    from eval.ablation import THRESHOLDS

    areas = [f"{name} @{THRESHOLDS[name]}" for name in sets]
    figures = ["GFLOP", "peak MB", "ms", "weights"]
    lines = [["attention", "recall %", "precision %", "fine px", *areas, *figures]]
    for cost in costs:
        runs = [run for run in accuracies if run.mechanism == cost.name]
        columns = [[run.recall for run in runs], [run.precision for run in runs]]
        columns += [[run.fine_px for run in runs]]
        columns += [[run.auc[name] for run in runs] for name in sets]
        assert cost.flops is not None
        assert cost.peak_bytes is not None
        assert cost.median_s is not None
        price = [f"{cost.flops / 1e9:.2f}", f"{cost.peak_bytes / 1e6:.0f}"]
        price += [f"{1e3 * cost.median_s:.0f}", str(cost.parameters)]
        lines.append([cost.name, *map(_mean_and_spread, columns), *price])
    return lines


def _mean_and_spread(values: Sequence[float]) -> str:
    digits = 1 if statistics.mean(values) >= 10 else 2
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _protocol(arguments: Arguments) -> str:
    begin = "from nothing" if arguments.start == "none" else f"from `{arguments.start}`"
    return (
        f"{arguments.steps} steps of {arguments.batch} pairs of {arguments.side} x {arguments.side}, seeds "
        f"{', '.join(map(str, arguments.seeds))}, trunk and fine stage {begin}; development sets: "
        f"{arguments.pairs} pairs each; cost: trunk and transformer at {arguments.cost_size[1]} x "
        f"{arguments.cost_size[0]}"
    )


def _write(
    arguments: Arguments,
    accuracies: "Sequence[Accuracy]",
    costs: "Sequence[CostRow]",
    lines: Sequence[Sequence[str]],
) -> None:
    from data_scripts.atomic import write_text
    from eval.cost_picture import draw_against_accuracy
    from eval.record import write_record
    from eval.tables import markdown

    recalls = {
        cost.name: statistics.mean(run.recall for run in accuracies if run.mechanism == cost.name)
        for cost in costs
    }
    label = "recall of cell matches, held-out synthetic pairs, %"
    draw_against_accuracy(costs, recalls, arguments.out / "ablation.png", label)
    path = arguments.out / "ablation.json"
    write_record(path, settings=arguments, accuracies=accuracies, costs=costs)
    text = markdown(lines[0], lines[1:], [_protocol(arguments)])
    write_text(arguments.out / "ablation.md", text)
