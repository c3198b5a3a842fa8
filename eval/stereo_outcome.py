"""A stereo method over a benchmark, from its name to the files that hold the results."""

from pathlib import Path

from rich.table import Table

from eval.passes import RunOptions
from eval.report import PUBLISHED_TITLE
from eval.stereo import StereoResult, run
from eval.stereo_benchmarks import StereoBenchmark
from eval.stereo_methods import find_stereo_method
from eval.stereo_page import write_page
from eval.stereo_report import blocks, notes, write
from eval.tables import terminal_table


def evaluate_stereo(
    benchmark: StereoBenchmark,
    method_name: str,
    places: tuple[Path, Path],
    options: RunOptions,
    *,
    pictures: bool = True,
) -> StereoResult:
    """Runs the method, writes results.json, results.md and index.html, and gives the result.

    Args:
        benchmark: which.
        method_name: as in `eval.stereo_methods.find_stereo_method`.
        places: the folder of the data, and that of the results, which gets a folder for each benchmark.
        options: what the user changed.
        pictures: whether to draw.
    """
    data, out = places
    method = find_stereo_method(method_name)
    result = run(benchmark, method, data, out, options)
    folder = out / benchmark.name / method.name
    write(result, folder)
    if pictures:
        write_page(result, folder)
    return result


def stereo_tables(result: StereoResult) -> list[Table]:
    """The tables for a terminal, with the protocol below the last one."""
    found = blocks(result)
    remarks: list[list[str]] = [[]] * (len(found) - 1) + [notes(result)]
    return [
        terminal_table(
            block.headings, block.rows, lines, block.title, wrap=block.title == PUBLISHED_TITLE
        )
        for block, lines in zip(found, remarks, strict=True)
    ]
