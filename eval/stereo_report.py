"""Stereo results for people, with the protocol below the tables, and for programs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_scripts.atomic import write_text
from eval.disparity import BAD_PX, DisparityScore
from eval.published import published
from eval.record import write_record
from eval.report import PUBLISHED_HEADINGS, PUBLISHED_TITLE, published_row
from eval.set_place import lacks_note
from eval.stereo import OCCLUDED_FROM, GroupResult, PairResult, StereoResult, config, grouped
from eval.tables import markdown

ERRORS = ("EPE px", *(f"bad {limit:g}" for limit in BAD_PX), "D1", "no answer")
PAIR_HEADINGS = ("pair", "size", *ERRORS, "occlusion IoU", "F1", "s / pair")
GROUP_HEADINGS = ("data", "pixels", "average", "images", "empty", *ERRORS)
OCCLUSION_HEADINGS = ("data", "average", "IoU", "F1", "two-class IoU", "s / pair")
RULE_HEADINGS = ("data", "counted as", "images", "skipped", "EPE px", "outliers %")
MOST_PAIRS = 50  # longer lists of pairs are in results.json alone
PIXELS = {
    "all": "all known",
    "noc": "visible",
    "occ": "occluded",
    "foreground": "foreground",
    "background": "background",
}


@dataclass(frozen=True)
class Block:
    """One table of the output."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def blocks(result: StereoResult, others: bool = True) -> list[Block]:
    """The tables: pairs, groups, occlusion, conventions, published; those with no row are left out.

    Args:
        result: what was measured.
        others: whether to add what others published.
    """
    groups, primary = grouped(result), result.benchmark.primary
    pairs = result.results if len(result.results) <= MOST_PAIRS else ()
    name = f"{result.benchmark.name}, {result.method.name}"
    rules = [row for group in groups for row in _rule_rows(group)]
    reported = published(result.benchmark.published) if others else ()
    published_rows = [published_row(each) for each in reported]
    found = [
        Block(
            f"{name}: pairs, {PIXELS[primary]} pixels",
            PAIR_HEADINGS,
            [_pair_row(pair, primary) for pair in pairs],
        ),
        Block(name, GROUP_HEADINGS, [row for group in groups for row in _group_rows(group)]),
        Block(
            f"{name}: occluded pixels, and time",
            OCCLUSION_HEADINGS,
            [row for group in groups for row in _occlusion_rows(group)],
        ),
        Block(f"{name}: by the conventions of the field", RULE_HEADINGS, rules),
        Block(PUBLISHED_TITLE, PUBLISHED_HEADINGS, published_rows),
    ]
    return [block for block in found if block.rows]


def _pair_row(result: PairResult, region: str) -> list[str]:
    H, W = result.size
    occlusion = result.occlusion
    overlap = ["-", "-"]
    if occlusion is not None:
        overlap = [_percent(occlusion.iou), _percent(occlusion.f1)]
    cells = [result.name, f"{W} x {H}", *_errors(result.score(region))]
    return [*cells, *overlap, _seconds(result.seconds)]


def _group_rows(group: GroupResult) -> list[list[str]]:
    rows = []
    for each in group.regions:
        start = [group.group, PIXELS[each.region]]
        count = [str(each.images), str(each.empty)]
        rows.append([*start, "per image", *count, *_errors(each.mean)])
        if each.images > 1:
            rows.append([*start, "per pixel", *count, *_errors(each.pooled)])
    return rows


def _occlusion_rows(group: GroupResult) -> list[list[str]]:
    seconds = _seconds(group.median_seconds)
    if group.occlusion is None:
        return [[group.group, "-", "-", "-", "-", seconds]]
    figures = [_percent(each) for each in (group.iou, group.f1, group.two_class_iou)]
    rows = [[group.group, "per image", *figures, seconds]]
    if group.pairs > 1:
        total = group.occlusion
        figures = [_percent(each) for each in (total.iou, total.f1, total.two_class_iou)]
        rows.append([group.group, "per pixel", *figures, seconds])
    return rows


def _rule_rows(group: GroupResult) -> list[list[str]]:
    return [
        [
            group.group,
            each.convention.name,
            str(each.images),
            str(each.skipped),
            f"{each.epe:.3f}",
            _percent(each.outliers),
        ]
        for each in group.conventions
    ]


def _errors(score: DisparityScore) -> list[str]:
    if not score.pixels:
        return ["-"] * len(ERRORS)
    return [
        f"{score.epe:.3f}",
        *(_percent(rate) for rate in (*score.bad, score.d1, score.invalid)),
    ]


def _percent(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{100 * rate:.2f}"


def _seconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds:.2f}"


def notes(result: StereoResult) -> list[str]:
    """What a reader must know about the tables."""
    benchmark, method = result.benchmark, result.method
    limit = "none" if benchmark.max_disp is None else f"{benchmark.max_disp:g} px, excluded"
    clip = "clipped to [0, ndisp] of the scene" if benchmark.clip else "not clipped"
    failed = [f"{pair.name} failed: {pair.error}" for pair in result.results if pair.error]
    sources = dict.fromkeys(each.source for each in published(benchmark.published))
    return [
        f"{method.name}: {method.protocol}.",
        f"{benchmark.name}: {benchmark.source}. Known by: {benchmark.quoted}.",
        f"Errors of the left disparity at the size of the files; largest true disparity: {limit}; predictions "
        f"{clip}; a pixel without a finite prediction is bad, and left out of the EPE.",
        "EPE = mean error; bad n = % of pixels more than n px off; D1 = % more than 3 px and 5 % off "
        "(KITTI 2015). Sums in float64.",
        "per image: every image weighs the same (Middlebury: its weight), one without such a pixel is left "
        "out and counted as empty. per pixel: every pixel does.",
        f"Occlusion from a probability of {OCCLUDED_FROM:g} on, where the set tells it. IoU and F1 are of the "
        "occluded class alone; two-class IoU is STTR's figure, which the many visible pixels raise.",
        *(f"Counted as {each.name}: {each.rule}." for each in benchmark.conventions),
        *lacks_note(benchmark.name, result.lacks),
        *failed,
        *(f"Published: {source}." for source in sources),
    ]


def markdown_text(result: StereoResult, others: bool = True) -> str:
    """All tables in Markdown, with the notes below."""
    parts = []
    for block in blocks(result, others):
        parts += [f"{block.title}:\n", markdown(block.headings, block.rows)]
    return "\n".join([*parts, *(f"- {note}" for note in notes(result)), ""])


def write(result: StereoResult, folder: Path) -> None:
    """Writes results.json, with every number, and results.md into `folder`."""
    document: dict[str, Any] = {
        "benchmark": result.benchmark.name,
        "method": result.method.name,
        "identity": result.identity,
        "protocol": notes(result),
        "lacks": result.lacks,
        "config": config(result.benchmark),
        "pairs": [_pair_json(each) for each in result.results],
        "groups": [asdict(group) for group in grouped(result)],
        "published": [asdict(each) for each in published(result.benchmark.published)],
    }
    write_record(folder / "results.json", results=[document])
    write_text(folder / "results.md", markdown_text(result))


def _pair_json(result: PairResult) -> dict[str, Any]:
    scores = {name: asdict(counts.score()) for name, counts in result.regions.items()}
    return asdict(result) | {"scores": scores}
