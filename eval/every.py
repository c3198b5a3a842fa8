"""`python -m eval all`: every benchmark whose data are there, with our weights and the baselines.

Writes tables.md, which docs/benchmarks.md quotes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from data_scripts.atomic import write_text
from eval.benchmarks import BENCHMARKS
from eval.environment import environment
from eval.match_outcome import evaluate_matching
from eval.passes import RunOptions
from eval.report import markdown_table, text_tables
from eval.runner import Result
from eval.stereo_benchmarks import STEREO_BENCHMARKS
from eval.stereo_outcome import evaluate_stereo, stereo_tables
from eval.stereo_report import markdown_text

MATCHERS = ("small", "sift")
STEREOS = ("small", "sgbm")
# Lists that a benchmark of any list is run on: benchmark, folder below that of all sets.
LISTS = (
    ("pairs", "pose/strecha"),
    ("pairs", "pose/7scenes_redkitchen"),
    ("homography", "homography/opencv_graf"),
    ("homography", "homography/oxford"),
)
SETS = ("scannet-sample", "scannet1500", "megadepth1500", "hpatches")
STEREO_SETS = ("stereo", "sceneflow", "kitti2012", "kitti2015", "middlebury", "eth3d")


@dataclass(frozen=True)
class Part:
    """A command, and what it gave: tables, or why there are none."""

    command: str
    tables: list[Table]
    text: str


def run_every(data: Path, out: Path, options: RunOptions, pictures: bool) -> list[Table]:
    """Runs all of it into `out`, one benchmark after another, and gives the tables.

    After each command tables.md is written again with all that is done.

    Raises:
        FileNotFoundError: no benchmark's data lie below `data`.
    """
    parts = []
    out.mkdir(parents=True, exist_ok=True)
    facts = environment()
    head = f"Commit {facts['commit']}; {facts['processor']}; {facts['device']}; torch {facts['torch']}.\n"
    for part in _parts(data, out, options, pictures):
        parts.append(part)
        bodies = [f"```\n{each.command}\n```\n\n{each.text}" for each in parts]
        write_text(out / "tables.md", "\n".join([head, *bodies]))
    tables = [table for part in parts for table in part.tables]
    if not tables:
        raise FileNotFoundError(
            f"{data}: wanted the data of a benchmark, got those of none; {out / 'tables.md'} says what "
            "each of them wants"
        )
    return tables


def _parts(data: Path, out: Path, options: RunOptions, pictures: bool) -> Iterator[Part]:
    for name in SETS:
        folder = data / BENCHMARKS[name].folder
        yield _matching(name, name, folder, out, options, pictures)
    for name, below in LISTS:
        label = f"{name}-{Path(below).name}"
        yield _matching(name, label, data / below, out, options, pictures)
    for name in STEREO_SETS:
        yield _stereo(name, data, out, options, pictures)


def _matching(
    name: str, label: str, folder: Path, out: Path, options: RunOptions, pictures: bool
) -> Part:
    """All methods on one benchmark, in one table."""
    benchmark = replace(BENCHMARKS[name], name=label)
    command = "\n".join(_command(name, method, folder) for method in MATCHERS)
    try:
        benchmark.pairs(folder)
    except (FileNotFoundError, ValueError) as error:
        return _not_run(command, error)
    places = (folder, out, out / label)
    results: list[Result] = []
    for method in MATCHERS:
        results += evaluate_matching([benchmark], method, places, options, pictures=pictures)
    return Part(command, text_tables(results), markdown_table(results))


def _stereo(name: str, data: Path, out: Path, options: RunOptions, pictures: bool) -> Part:
    """All methods on one benchmark, one after the other; what others published once."""
    benchmark = replace(STEREO_BENCHMARKS[name], anywhere=False)
    command = "\n".join(_command(name, method, data) for method in STEREOS)
    try:
        benchmark.pairs(data)
    except (FileNotFoundError, ValueError) as error:
        return _not_run(command, error)
    found = [
        evaluate_stereo(benchmark, method, (data, out), options, pictures=pictures)
        for method in STEREOS
    ]
    texts = [markdown_text(result, result is found[-1]) for result in found]
    return Part(command, [t for result in found for t in stereo_tables(result)], "\n".join(texts))


def _command(name: str, method: str, data: Path) -> str:
    return f"python -m eval {name} --method {method} --data {data}"


def _not_run(command: str, error: Exception) -> Part:
    return Part(command, [], f"Not run here: {' '.join(str(error).split())}\n")
