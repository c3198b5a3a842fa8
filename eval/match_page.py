"""Pictures of results of matching, and the page that holds them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.curves import Curve, draw_recall
from eval.page import Section, write_html
from eval.predictions import Prediction, read_prediction
from eval.report import HEADINGS, PUBLISHED_HEADINGS, PUBLISHED_TITLE, notes, published_rows, row
from eval.resized import read_resized
from eval.runner import Result
from matching.draw import draw_matches
from matching.matches import Matches

SHOWN = 2  # best and worst pairs, each


def write_page(results: Sequence[Result], folder: Path) -> None:
    """Writes curves.png and the best and worst pairs of each benchmark, and index.html with all of it."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    benchmarks = dict.fromkeys(result.benchmark.name for result in results)
    sections = []
    for name in benchmarks:
        chosen = [result for result in results if result.benchmark.name == name]
        shown = [_curves(chosen, pictures), *_pairs(chosen[0], pictures)]
        sections.append(Section(name, HEADINGS, list(map(row, chosen)), notes(chosen), shown))
        others = published_rows(chosen)
        if others:
            sections.append(Section(PUBLISHED_TITLE, PUBLISHED_HEADINGS, others))
    title = f"{results[0].method} on {', '.join(benchmarks)}"
    write_html(folder / "index.html", title, sections)


def _curves(results: Sequence[Result], pictures: Path) -> tuple[Path, str]:
    benchmark = results[0].benchmark
    path = pictures / f"{benchmark.name}-recall.png"
    curves = [
        Curve(each.estimator.short, np.concatenate([score.errors for score in each.scores]))
        for each in results
    ]
    limit = max(benchmark.thresholds)
    title = f"{benchmark.name}, {results[0].method}"
    draw_recall(curves, limit, benchmark.unit, title, path)
    return path, f"Share of pairs by error, {title}; all repeats"


def _pairs(result: Result, pictures: Path) -> list[tuple[Path, str]]:
    """The pairs with the smallest and the largest error under the first estimator."""
    benchmark = result.benchmark
    order = np.argsort([score.error for score in result.scores], kind="stable")
    ends = dict.fromkeys([*order[:SHOWN].tolist(), *order[::-1][:SHOWN].tolist()])
    found = []
    for number in ends:
        pair, score = result.pairs[number], result.scores[number]
        _, prediction = read_prediction(result.predictions, number, Prediction)
        images = [read_resized(each, benchmark.sizing) for each in (pair.image0, pair.image1)]
        matches = Matches(prediction.kpts0, prediction.kpts1, prediction.confidence)
        path = pictures / f"{benchmark.name}-{number:04d}.png"
        draw_matches(images[0].rgb, images[1].rgb, matches, path)
        state = score.failure if np.isinf(score.error) else f"{score.error:.2f} {benchmark.unit}"
        kind = "best" if number in order[:SHOWN] else "worst"
        found.append((path, f"{pair.name}: {state} ({kind}, {result.estimator.short})"))
    return found
