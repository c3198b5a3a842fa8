"""A matcher over benchmarks of matching, from its name to the files that hold the results."""

from collections.abc import Sequence
from pathlib import Path

from data_scripts.atomic import write_text
from eval.benchmarks import Benchmark
from eval.match_page import write_page
from eval.methods import find_method
from eval.passes import RunOptions
from eval.report import markdown_table, write_results
from eval.runner import Result, run


def evaluate_matching(
    benchmarks: Sequence[Benchmark],
    method_name: str,
    places: tuple[Path, Path, Path],
    options: RunOptions,
    *,
    pictures: bool = True,
) -> list[Result]:
    """Runs the method, writes results.json, results.md and index.html, and gives the results.

    Args:
        benchmarks: which to run, into one table.
        method_name: as in `eval.methods.find_method`.
        places: the folder of the data, that of the predictions, that of the results; each of the last two
            gets a folder per method.
        options: what the user changed.
        pictures: whether to draw.
    """
    data, out, folder = places
    method = find_method(method_name)
    results: list[Result] = []
    for benchmark in benchmarks:
        results += run(benchmark, method, data, out, options)
    folder = folder / method.name
    folder.mkdir(parents=True, exist_ok=True)
    write_results(results, folder / "results.json")
    write_text(folder / "results.md", markdown_table(results))
    if pictures:
        write_page(results, folder)
    return results
