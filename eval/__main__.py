"""`python -m eval BENCHMARK`: how accurate matching, or stereo, is on a benchmark.

Heavy packages are imported after the arguments are read, so that --help answers at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro

from data_scripts.command_line import run_command

if TYPE_CHECKING:
    from rich.table import Table

    from eval.passes import RunOptions

PROG = "python -m eval"
Matching = Literal[
    "dev",
    "strecha",
    "7scenes",
    "graf",
    "oxford",
    "scannet1500",
    "megadepth1500",
    "scannet-sample",
    "pairs",
    "hpatches",
    "homography",
]
Stereo = Literal[
    "stereo",
    "sceneflow",
    "kitti2012",
    "kitti2015",
    "middlebury",
    "eth3d",
    "disparity",
]

# Commands with options of their own; each module has main(words), which gives the exit code.
COMMANDS = {
    "ablation": "eval.ablation_command",
    "convergence": "eval.convergence_command",
    "cost": "eval.cost_command",
    "fuzz": "eval.fuzz_command",
    "points": "eval.points_command",
}


@dataclass(frozen=True)
class Arguments:
    """Accuracy of a method on a benchmark, printed with its protocol; goes on where it was stopped."""

    benchmark: tyro.conf.Positional[Matching | Stereo | Literal["all"]]
    """Which one. Of disparity: stereo, sceneflow, kitti2012, kitti2015, middlebury, eth3d and disparity (any
    index); the others of matching: pairs and homography take any list, dev runs all development sets. all
    runs every benchmark whose data lie below --data, with our weights and the baselines. Not benchmarks, with
    options of their own: cost, what attention costs in FLOPs, memory and time; ablation, what each buys."""
    method: Annotated[
        str, tyro.conf.arg(metavar="small|sift|xfeat|sgbm|PATH|FILE.h5|MODULE:FUNCTION")
    ] = "small"
    """Shipped weights by name, a baseline (sift and xfeat match, sgbm is stereo), the path of a checkpoint
    (.safetensors), a file of predictions (.h5) or a function; see docs/benchmarks.md."""
    data: Path = Path("../shared/data")
    """Folder of the set in its original layout, a converted .h5 file, or the folder that holds pose/,
    homography/ and stereo/."""
    out: Path = Path("out/eval")
    """Folder for predictions, results.json, results.md, pictures and index.html."""
    repeats: int | None = None
    """Estimates per pair, on shuffled matches; the default is the benchmark's (5, development sets 1)."""
    limit: int | None = None
    """Only so many first pairs, to try things out."""
    workers: int = 1
    """Processes that score."""
    max_disp: float | None = None
    """Of stereo: true disparities from it on, in px, are left out of the regions; without it, none are."""
    pictures: bool = True
    """Whether to draw curves, pairs and error maps, and index.html."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 where the data or the method is not as it must be."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] and words[0] in COMMANDS:
        return int(import_module(COMMANDS[words[0]]).main(words[1:]))
    return run_command(PROG, lambda: evaluate(tyro.cli(Arguments, prog=PROG, args=argv)))


def evaluate(arguments: Arguments) -> None:
    """Runs the benchmarks and prints and writes their results."""
    from eval.console import print_tables
    from eval.every import run_every
    from eval.passes import RunOptions

    options = RunOptions(arguments.repeats, arguments.limit, arguments.workers, arguments.max_disp)
    if arguments.benchmark == "all":
        tables = run_every(arguments.data, arguments.out, options, arguments.pictures)
    elif arguments.benchmark in get_args(Stereo):
        tables = _stereo(arguments, options)
    else:
        tables = _matching(arguments, options)
    print_tables(tables)


def _matching(arguments: Arguments, options: "RunOptions") -> "list[Table]":
    from eval.benchmarks import BENCHMARKS, DEV
    from eval.match_outcome import evaluate_matching
    from eval.report import text_tables

    dev = arguments.benchmark == "dev"
    chosen = list(DEV.values()) if dev else [BENCHMARKS[arguments.benchmark]]
    # The sets of dev have one folder together, because some share a name with a benchmark of its own.
    out = arguments.out / "dev" if dev else arguments.out
    folder = arguments.out / arguments.benchmark
    places = (arguments.data, out, folder)
    results = evaluate_matching(
        chosen, arguments.method, places, options, pictures=arguments.pictures
    )
    return text_tables(results)


def _stereo(arguments: Arguments, options: "RunOptions") -> "list[Table]":
    from eval.stereo_benchmarks import STEREO_BENCHMARKS
    from eval.stereo_outcome import evaluate_stereo, stereo_tables

    benchmark = STEREO_BENCHMARKS[arguments.benchmark]
    places = (arguments.data, arguments.out)
    result = evaluate_stereo(
        benchmark, arguments.method, places, options, pictures=arguments.pictures
    )
    return stereo_tables(result)


if __name__ == "__main__":
    sys.exit(main())
