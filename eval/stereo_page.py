"""Pictures of results of stereo, and the page that holds them."""

import math
from pathlib import Path

import numpy as np

from eval.curves import Curve, draw_recall
from eval.image_source import read_rgb
from eval.page import Section, write_html
from eval.predictions import DisparityPrediction, read_prediction
from eval.stereo import StereoResult, masks_of
from eval.stereo_report import PIXELS, blocks, notes
from stereo.disparity import Disparity
from stereo.draw import draw_disparity

SHOWN = 2  # best and worst pairs, each
LARGEST_PX = 5.0  # end of the curve
MOST_CURVED = 20  # pairs that the curve is made of, taken evenly


def write_page(result: StereoResult, folder: Path) -> None:
    """Writes the curve, the best and worst pairs with their error maps, and index.html with all of it."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    sections = [Section(block.title, block.headings, block.rows) for block in blocks(result)]
    shown = [_curve(result, pictures), *_pairs(result, pictures)]
    sections.append(Section("protocol", remarks=notes(result)))
    sections.append(Section("pictures", pictures=shown))
    write_html(folder / "index.html", f"{result.method.name} on {result.benchmark.name}", sections)


def _curve(result: StereoResult, pictures: Path) -> tuple[Path, str]:
    """Share of pixels by error, in each region that is known."""
    count = min(len(result.pairs), MOST_CURVED)
    chosen = np.linspace(0, len(result.pairs) - 1, count).round().astype(int).tolist()
    errors: dict[str, list[np.ndarray]] = {}
    for number in chosen:
        truth = result.pairs[number].truth()
        _, prediction = read_prediction(result.predictions, number, DisparityPrediction)
        for name, mask in masks_of(truth, result.benchmark).items():
            error = np.abs(prediction.disparity[mask].astype(np.float64) - truth.disp[mask])
            errors.setdefault(name, []).append(np.nan_to_num(error, nan=np.inf))
    curves = [Curve(PIXELS[name], np.concatenate(parts)) for name, parts in errors.items()]
    path = pictures / "recall.png"
    title = f"{result.benchmark.name}, {result.method.name}, {count} of {len(result.pairs)} pairs"
    draw_recall([each for each in curves if len(each.errors)], LARGEST_PX, "px", title, path)
    return path, f"Share of pixels by error, {title}"


def _pairs(result: StereoResult, pictures: Path) -> list[tuple[Path, str]]:
    """The pairs with the smallest and the largest mean error."""
    region = result.benchmark.primary
    epe = [each.score(region).epe for each in result.results]
    order = np.argsort([math.inf if math.isnan(each) else each for each in epe], kind="stable")
    best = order[:SHOWN].tolist()
    found = []
    for number in dict.fromkeys([*best, *order[::-1][:SHOWN].tolist()]):
        pair = result.pairs[number]
        _, prediction = read_prediction(result.predictions, number, DisparityPrediction)
        occlusion = prediction.occlusion.astype(np.float32)
        disparity = Disparity(prediction.disparity, occlusion, 1 - occlusion)
        path = pictures / f"{number:04d}.png"
        draw_disparity(read_rgb(pair.left), disparity, path, truth=pair.truth().disp)
        state = result.results[number].error or f"EPE {epe[number]:.2f} px"
        kind = "best" if number in best else "worst"
        found.append((path, f"{pair.name}: {state} on {PIXELS[region]} pixels ({kind})"))
    return found
