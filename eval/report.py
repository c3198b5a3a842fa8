"""Results for people (a table with the protocol beside the numbers) and for programs (results.json)."""

import json
import math
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table

from data_scripts.atomic import replacing
from eval.runner import Result
from eval.scores import PRECISION_RULE

PACKAGES = ("quadview", "torch", "opencv-python", "opencv-python-headless", "numpy")


def headings() -> list[str]:
    """Names of the columns of `row`."""
    return ["benchmark", "method", "estimator", "AUC %", "failed", "right %", "matches", "s / pair"]


def row(result: Result) -> list[str]:
    """One result as text; areas and shares in percent."""
    benchmark, summary = result.benchmark, result.summary
    thresholds = "/".join(summary.auc)
    areas = " / ".join(f"{100 * area:.1f}" for area in summary.auc.values())
    return [
        benchmark.name,
        result.method,
        result.estimator.short,
        f"@{thresholds} {benchmark.unit}: {areas}",
        f"{summary.failed} of {summary.pairs}",
        f"{100 * summary.precision:.1f}",
        f"{summary.mean_matches:.0f}",
        f"{summary.median_seconds:.2f}",
    ]


def notes(results: Sequence[Result]) -> list[str]:
    """What a reader must know about the table."""
    sides = sorted({result.benchmark.long_side for result in results})
    units = {result.benchmark.unit for result in results}
    rules = ", ".join(rule for unit, rule in PRECISION_RULE.items() if unit in units)
    estimators = sorted({result.estimator for result in results}, key=str)
    return [
        f"Images shrunk to long side {', '.join(map(str, sides))} px, never enlarged; "
        "thresholds in pixels of the shrunk images.",
        "AUC in percent: pose = larger of rotation and translation-direction error, homography = mean "
        "corner error; a failed pair has an infinite error.",
        f"right = mean share of matches with {rules}, in percent; "
        "s / pair = median time of the match.",
        f"Estimators: {'; '.join(map(str, estimators))}.",
    ]


def text_table(results: Sequence[Result]) -> Table:
    """The results as a table for a terminal."""
    return terminal_table(headings(), map(row, results), notes(results))


def markdown_table(results: Sequence[Result]) -> str:
    """The results as a table in Markdown."""
    return markdown(headings(), map(row, results), notes(results))


def terminal_table(
    names: Sequence[str], rows: Iterable[Sequence[str]], remarks: Sequence[str]
) -> Table:
    """Cells under the names of their columns, with remarks below, for a terminal."""
    table = Table(caption="\n".join(remarks), caption_justify="left")
    for name in names:
        table.add_column(name, no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table


def markdown(names: Sequence[str], rows: Iterable[Sequence[str]], remarks: Sequence[str]) -> str:
    """The same in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([table, "", *(f"- {remark}" for remark in remarks), ""])


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes every number and every setting behind it to `path`, whole or not at all."""
    write_document([_as_json(result) for result in results], path)


def write_document(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes results as JSON with the machine and the versions that they come from."""
    document = {"environment": environment(), "results": results}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False))


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "benchmark": result.benchmark.name,
        "method": result.method,
        "identity": result.identity,
        "protocol": result.benchmark.protocol(result.estimator),
        "estimator": asdict(result.estimator),
        "unit": result.benchmark.unit,
        **asdict(result.summary),
        "scores": [finite(asdict(score)) for score in result.scores],
    }


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """The same with null for infinity and NaN, which JSON does not have."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def environment() -> dict[str, str]:
    """Versions, machine and commit."""
    found = {package: _version(package) for package in PACKAGES}
    found |= {"python": platform.python_version(), "machine": platform.platform()}
    return found | {"commit": _commit()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
