"""Results of matching for people (a table with the protocol beside the numbers) and for programs."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from eval.published import Published, published
from eval.record import write_record
from eval.runner import Result, config, left_out
from eval.set_place import lacks_note
from eval.tables import markdown, terminal_table

HEADINGS = (
    "benchmark",
    "method",
    "estimator",
    "AUC %",
    "failed",
    "right %",
    "matches",
    "s / pair",
    "ms / est.",
)

PUBLISHED_HEADINGS = ("benchmark", "method", "metric", "values", "protocol")
PUBLISHED_TITLE = "published by others, not measured here"


def row(result: Result) -> list[str]:
    """One result as text; areas and shares in percent."""
    benchmark, summary = result.benchmark, result.summary
    return [
        benchmark.name,
        result.method,
        result.estimator.short,
        _areas(result),
        f"{summary.failed} of {summary.pairs * summary.repeats}",
        " / ".join(f"{100 * share:.1f}" for share in summary.correct.values()),
        f"{summary.mean_matches:.0f}",
        "-" if math.isnan(summary.median_seconds) else f"{summary.median_seconds:.2f}",
        f"{1000 * summary.median_estimator_seconds:.0f}",
    ]


def _areas(result: Result) -> str:
    summary = result.summary
    text = " / ".join(f"{100 * area:.1f}" for area in summary.auc.values())
    if summary.repeats > 1:
        spread = " / ".join(f"{100 * each:.1f}" for each in summary.deviation.values())
        text += f" ± {spread}"
    return f"@{'/'.join(summary.auc)} {result.benchmark.unit}: {text}"


def published_rows(results: Sequence[Result]) -> list[list[str]]:
    """What papers and repositories report on the same benchmarks, marked as published."""
    names = dict.fromkeys(result.benchmark.published for result in results)
    return [published_row(each) for name in names if name for each in published(name)]


def published_row(each: Published) -> list[str]:
    """Cells under PUBLISHED_HEADINGS."""
    values = " / ".join(f"{value:g}" for value in each.values)
    return [each.benchmark, f"{each.method} (published)", each.metric, values, each.protocol]


def _first_failure(result: Result) -> list[str]:
    """Why the first pair that failed did, as a line; none where none did."""
    found = next((score for score in result.scores if score.failed), None)
    if found is None:
        return []
    return [
        f"{result.benchmark.name}, {result.method}: first failure {found.name}: {found.failure}."
    ]


def notes(results: Sequence[Result]) -> list[str]:
    """What a reader must know about the table."""
    benchmarks = {result.benchmark.name: result.benchmark for result in results}
    units = {benchmark.unit for benchmark in benchmarks.values()}
    right = {
        "deg": "squared symmetric epipolar distance < 5e-4 / 1e-4 in normalised coordinates",
        "px": "reprojection < 1 / 2 / 3 / 5 / 10 px (mean matching accuracy)",
    }
    estimators = sorted({result.estimator for result in results}, key=str)
    repeats = max(result.summary.repeats for result in results)
    lines = [*dict.fromkeys(_benchmark_note(each) for each in benchmarks.values())]
    lines += [
        "AUC in percent: pose = larger of rotation and translation-direction error, homography = mean "
        "corner error; a failed estimate has an infinite error and is counted.",
        f"right = mean share of matches with {', or '.join(right[unit] for unit in sorted(units))}, in "
        "percent; s / pair = median time of the match at the size above; ms / est. = of one estimate.",
        f"Estimators: {'; '.join(map(str, estimators))}.",
    ]
    if repeats > 1:
        lines.append(
            f"Mean ± sample standard deviation of {repeats} repeats; repeat 1 keeps the order of the "
            "matches, the others shuffle it with seeds 1, 2, ..."
        )
    for benchmark in benchmarks.values():
        lines += left_out(benchmark)
    for name, missing in {result.benchmark.name: result.lacks for result in results}.items():
        lines += lacks_note(name, missing)
    lines += [*dict.fromkeys(line for result in results for line in _first_failure(result))]
    sources = {each.source for r in results for each in published(r.benchmark.published)}
    return lines + [f"Published: {source}." for source in sorted(sources)]


def _benchmark_note(benchmark: Any) -> str:
    kept = f", the {benchmark.max_matches} most confident matches" if benchmark.max_matches else ""
    source = f" {benchmark.source}." if benchmark.source else ""
    return (
        f"{benchmark.name}: {benchmark.sizing}{kept}; thresholds in pixels of the "
        f"{benchmark.pixels} images.{source}"
    )


def text_tables(results: Sequence[Result]) -> list[Table]:
    """The results, and below them what others published, as tables for a terminal."""
    tables = [terminal_table(HEADINGS, map(row, results), notes(results))]
    others = published_rows(results)
    if others:
        tables.append(terminal_table(PUBLISHED_HEADINGS, others, (), PUBLISHED_TITLE, wrap=True))
    return tables


def markdown_table(results: Sequence[Result]) -> str:
    """The same in Markdown."""
    others = published_rows(results)
    text = markdown(HEADINGS, map(row, results), notes(results))
    if others:
        text += f"\n{PUBLISHED_TITLE}:\n\n{markdown(PUBLISHED_HEADINGS, others)}"
    return text


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes every number and every setting behind it to `path`, whole or not at all."""
    write_record(path, results=[_as_json(result) for result in results])


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "benchmark": result.benchmark.name,
        "method": result.method,
        "identity": result.identity,
        "protocol": result.benchmark.protocol(result.estimator),
        "config": config(result.benchmark),
        "estimator": asdict(result.estimator),
        "unit": result.benchmark.unit,
        "lacks": result.lacks,
        **asdict(result.summary),
        "scores": [asdict(score) for score in result.scores],
        "published": [asdict(each) for each in published(result.benchmark.published)],
    }
