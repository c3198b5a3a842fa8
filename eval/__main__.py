"""`python -m eval BENCHMARK`: how accurate a matcher is on a benchmark.

Heavy packages are imported after the arguments are read, so that --help answers at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

PIPED_WIDTH = 120  # columns of the table where the output is no terminal; rich would take 80
Name = Literal["dev", "strecha", "7scenes", "scannet-sample", "graf", "oxford"]


@dataclass(frozen=True)
class Arguments:
    """Accuracy of a matcher on a benchmark, printed with its protocol; goes on where it was stopped."""

    benchmark: tyro.conf.Positional[Name]
    """Which one; dev runs them all."""
    method: Annotated[str, tyro.conf.arg(metavar="small|sift|xfeat|PATH")] = "small"
    """Shipped weights by name, a baseline, or the path of a checkpoint (.safetensors)."""
    data: Path = Path("../shared/data")
    """Folder that holds pose/ and homography/."""
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
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(text_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
