"""`python -m eval BENCHMARK`: how accurate matching, or stereo, is on a benchmark.

Heavy packages are imported after the arguments are read, so that --help answers at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from rich.table import Table

PIPED_WIDTH = 120  # columns of the table where the output is no terminal; rich would take 80
Name = Literal["dev", "strecha", "7scenes", "scannet-sample", "graf", "oxford", "stereo"]


@dataclass(frozen=True)
class Arguments:
    """Accuracy of a method on a benchmark, printed with its protocol; goes on where it was stopped."""

    benchmark: tyro.conf.Positional[Name]
    """Which one; stereo is of disparity, the others of matching, which dev runs all."""
    method: Annotated[str, tyro.conf.arg(metavar="small|sift|xfeat|sgbm|PATH")] = "small"
    """Shipped weights by name, a baseline (sift and xfeat match, sgbm is stereo), or the path of a
    checkpoint (.safetensors)."""
    data: Path = Path("../shared/data")
    """Folder that holds pose/, homography/ and stereo/."""
    out: Path = Path("out/eval")
    """Folder for predictions, results.json and results.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 where the data or the method is not as it must be."""
    arguments = tyro.cli(Arguments, prog="python -m eval", args=argv)
    try:
        return evaluate(arguments)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"python -m eval: {error}", file=sys.stderr)
        return 2


def evaluate(arguments: Arguments) -> int:
    """Runs the benchmarks and prints and writes their results."""
    from rich.console import Console

    table = _stereo(arguments) if arguments.benchmark == "stereo" else _matching(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    return 0


def _matching(arguments: Arguments) -> "Table":
    from eval.benchmarks import BENCHMARKS
    from eval.methods import find_method
    from eval.report import markdown_table, text_table, write_results
    from eval.runner import run

    chosen = list(BENCHMARKS) if arguments.benchmark == "dev" else [arguments.benchmark]
    method = find_method(arguments.method)
    results = []
    for name in chosen:
        results += run(BENCHMARKS[name], method, arguments.data, arguments.out)
    folder = arguments.out / arguments.benchmark / method.name
    folder.mkdir(parents=True, exist_ok=True)
    write_results(results, folder / "results.json")
    (folder / "results.md").write_text(markdown_table(results))
    return text_table(results)


def _stereo(arguments: Arguments) -> "Table":
    from eval.stereo import run, stereo_pairs
    from eval.stereo_methods import find_stereo_method
    from eval.stereo_report import text_table, write

    method = find_stereo_method(arguments.method)
    pairs = stereo_pairs(arguments.data)
    folder = arguments.out / "stereo" / method.name
    folder.mkdir(parents=True, exist_ok=True)
    results = run(pairs, method, folder)
    write(results, method, folder)
    return text_table(results, method)


if __name__ == "__main__":
    sys.exit(main())
