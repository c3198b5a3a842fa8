"""Stereo results for people, with the protocol below the table, and for programs."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from data_scripts.atomic import replacing
from eval.disparity import DisparityScore
from eval.report import finite, markdown, terminal_table, write_document
from eval.stereo import OCCLUDED_FROM, GroupResult, PairResult, grouped
from eval.stereo_methods import StereoMethod

HEADINGS = ("pair", "size", "EPE px", "bad 1", "bad 2", "bad 3", "D1", "occlusion IoU", "s / pair")
PROTOCOL = (
    "Errors of the left disparity at full size, on pixels whose disparity is known and which the right image "
    "shows: by nocc.png, and where there is none (Aloe, KITTI) every known pixel whose match lies inside the "
    "right image.",
    "EPE = mean error; bad n = % of pixels more than n px off; D1 = % more than 3 px and 5 % off "
    "(KITTI 2015). Nothing is clipped; a pixel without a finite prediction is bad.",
    "mean: every image weighs the same. pooled: every pixel does.",
    f"occlusion IoU: of the occluded class alone, in %, from a probability of {OCCLUDED_FROM:g} on, where "
    "occlusion is known.",
)


def rows(results: Sequence[PairResult]) -> list[list[str]]:
    """Pairs, then both means of each data set."""
    cells = [_pair_row(result) for result in results]
    for group in grouped(results):
        cells += _group_rows(group)
    return cells


def _pair_row(result: PairResult) -> list[str]:
    H, W = result.size
    tail = [_percent(result.occlusion_iou), f"{result.seconds:.2f}"]
    return [result.name, f"{W} x {H}", *_errors(result.score), *tail]


def _group_rows(group: GroupResult) -> list[list[str]]:
    count = f"{group.pairs} pairs" if group.pairs > 1 else "1 pair"
    tail = [_percent(group.occlusion_iou), f"{group.median_seconds:.2f}"]
    means = [[f"{group.group}, mean", count, *_errors(group.mean), *tail]]
    if group.pairs > 1:
        means += [[f"{group.group}, pooled", count, *_errors(group.pooled), "", ""]]
    return means


def _errors(score: DisparityScore) -> list[str]:
    return [f"{score.epe:.3f}", *(_percent(rate) for rate in (*score.bad, score.d1))]


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.2f}"


def notes(results: Sequence[PairResult], method: StereoMethod) -> list[str]:
    """What a reader must know about the table."""
    failed = [f"{result.name} failed: {result.error}" for result in results if result.error]
    empty = [f"{g.group}: {g.empty} pairs without a pixel" for g in grouped(results) if g.empty]
    return [f"{method.name}: {method.protocol}.", *PROTOCOL, *failed, *empty]


def text_table(results: Sequence[PairResult], method: StereoMethod) -> Table:
    """The results as a table for a terminal."""
    return terminal_table(HEADINGS, rows(results), notes(results, method))


def write(results: Sequence[PairResult], method: StereoMethod, folder: Path) -> None:
    """Writes results.json, with every number, and results.md into `folder`."""
    document: dict[str, Any] = {
        "benchmark": "stereo",
        "method": method.name,
        "identity": method.identity,
        "protocol": [method.protocol, *PROTOCOL],
        "pairs": [_as_json(result) for result in results],
        "groups": [_as_json(group) for group in grouped(results)],
    }
    write_document([document], folder / "results.json")
    text = markdown(HEADINGS, rows(results), notes(results, method))
    with replacing(folder / "results.md") as temporary:
        temporary.write_text(text)


def _as_json(result: PairResult | GroupResult) -> dict[str, Any]:
    return finite(
        {
            key: finite(value) if isinstance(value, dict) else value
            for key, value in asdict(result).items()
        }
    )
