"""Pictures of matches and of attention, with matplotlib's object API: no window, no global figure."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_scripts.figure_file import finished
from data_scripts.given_images import Image, as_rgb8
from matching.attention_view import AttentionTrace
from matching.matches import Matches

FIGURE_WIDTH = 12.0  # inches
FIGURE_HEIGHTS = (2.5, 16.0)  # inches; very tall or flat images would give absurd figures
DPI = 150
SHOWN_SIDE = 2000  # px; larger images are shrunk before matplotlib gets them
GAP = 0.02  # between the images, of the width of both
MUTED = 0.8  # brightness of the images under the colours
COLOURS = "plasma"  # dark for unsure, bright for sure
LEVEL_COLOURS = ("#ffd166", "#ff8c42", "#ff2e63", "#b5179e", "#7209b7")  # coarsest first


def draw_matches(
    image0: Image,
    image1: Image,
    matches: Matches,
    path: str | Path | None = None,
    *,
    max_lines: int = 200,
) -> Figure:
    """Both images side by side, matched points joined by lines coloured by confidence.

    Args:
        image0: anything that `MatchPredictor.match` takes.
        image1: the same.
        matches: in pixels of these images.
        path: where to write the picture, .png, .jpg, .pdf or .svg; None writes nothing.
        max_lines: all points are drawn, but lines only for so many matches, taken evenly through the
            ranks, so that the picture is neither crowded nor better than the truth.

    Returns:
        The figure.
    """
    figure, axes, shift = side_by_side(as_rgb8(image0, "image0"), as_rgb8(image1, "image1"))
    colours = ScalarMappable(Normalize(0, 1), COLOURS)
    order = slice(None, None, -1)  # the best are drawn last, on top
    kpts0, kpts1 = matches.kpts0[order], matches.kpts1[order] + (shift, 0)
    shades = colours.to_rgba(matches.confidence[order])
    for points in (kpts0, kpts1):
        axes.scatter(points[:, 0], points[:, 1], s=5, c=shades, linewidths=0)
    count = min(len(matches), max_lines)
    chosen = np.linspace(0, len(matches) - 1, count).round().astype(int)
    lines = np.stack([kpts0, kpts1], axis=1)[chosen]
    axes.add_collection(
        LineCollection(list(lines), colors=shades[chosen], linewidths=0.7, alpha=0.6)
    )
    lines_of = "" if count == len(matches) else f", lines for {count} of them"
    axes.set_title(f"{len(matches)} matches{lines_of}", fontsize=10)
    figure.colorbar(colours, ax=axes, label="confidence", fraction=0.02, pad=0.01)
    return finished(figure, path)


def draw_attention(
    image0: Image, image1: Image, trace: AttentionTrace, path: str | Path | None = None
) -> Figure:
    """A point of image 0, and the cells of image 1 that QuadTree attention visits for it.

    Coarse cells are large and pale, fine cells small and strong; a cell is the stronger, the more heads
    visit it.

    Args:
        image0: the image that asks.
        image1: the image that answers.
        trace: what `trace_attention` gave for these images.
        path: see `draw_matches`.

    Returns:
        The figure.
    """
    figure, axes, shift = side_by_side(as_rgb8(image0, "image0"), as_rgb8(image1, "image1"))
    left, top, right, bottom = trace.box
    asking = Rectangle((left, top), right - left, bottom - top, fill=False, color="#00e5ff")
    axes.add_patch(asking)
    axes.plot(*trace.point, "+", color="#00e5ff", markersize=16, markeredgewidth=1.5)
    for level, visited in enumerate(trace.levels):
        colour = LEVEL_COLOURS[level % len(LEVEL_COLOURS)]
        strength = (level + 1) / len(trace.levels)  # pale to strong
        axes.add_collection(_cells(visited.boxes, visited.share, shift, colour, strength))
        label = f"level {level}: {len(visited.boxes)} cells"
        axes.plot([], [], "s", color=colour, alpha=0.3 + 0.7 * strength, label=label)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, -0.09), ncols=len(trace.levels), fontsize=9
    )
    x, y = trace.point
    axes.set_title(f"cells that attention visits for the point {x:g}, {y:g}", fontsize=10)
    return finished(figure, path)


def _cells(
    boxes: np.ndarray, share: np.ndarray, shift: float, colour: str, strength: float
) -> PatchCollection:
    rectangles = [
        Rectangle((left + shift, top), right - left, bottom - top)
        for left, top, right, bottom in boxes
    ]
    opacity = 0.4 + 0.6 * share
    cells = PatchCollection(rectangles, linewidths=0.4 + 0.6 * strength)
    cells.set_facecolor([(colour, float(a * strength * 0.6)) for a in opacity])
    cells.set_edgecolor([(colour, float(a * (0.4 + 0.6 * strength))) for a in opacity])
    return cells


def side_by_side(image0: np.ndarray, image1: np.ndarray) -> tuple[Figure, Axes, float]:
    """A figure with both images in pixels of image 0, and how far right image 1 begins."""
    (H0, W0), (H1, W1) = image0.shape[:2], image1.shape[:2]
    shift = W0 + round(GAP * (W0 + W1)) + 1.0
    height = max(H0, H1)
    wanted = FIGURE_WIDTH * height / (shift + W1)
    figure = Figure(
        figsize=(FIGURE_WIDTH, float(np.clip(wanted, *FIGURE_HEIGHTS))),
        dpi=DPI,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for image, start in ((image0, 0.0), (image1, shift)):
        H, W = image.shape[:2]
        edges = (start - 0.5, start + W - 0.5, H - 0.5, -0.5)
        axes.imshow(_shown(image), extent=edges, cmap="gray", vmin=0, vmax=255)
    axes.set_xlim(-0.5, shift + W1 - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()
    return figure, axes, shift


def _shown(image: np.ndarray) -> np.ndarray:
    """The image in muted grey, on which colours stand out, shrunk if far finer than the picture."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = SHOWN_SIDE / max(grey.shape)
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in grey.shape)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(MUTED * grey)
