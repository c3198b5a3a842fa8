"""Pictures of disparity, occlusion and error, with matplotlib's object API: no window, no global figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from data_scripts.figure_file import finished
from data_scripts.given_images import Image, as_rgb8
from stereo.disparity import Disparity

PANEL_WIDTH = 6.0  # inches
PANEL_HEIGHTS = (1.0, 10.0)  # inches; very tall or flat images would give absurd figures
TITLE_HEIGHT = 0.4  # inches
DPI = 150
COLOURS = "plasma"  # near is bright
UNKNOWN = "black"
OCCLUDED = "#ff2e63"
OCCLUDED_FROM = 0.5
RANGE = (0.5, 99.5)  # percentiles of the disparity that get the ends of the colours
LARGEST_ERROR = 5.0  # px; larger ones look the same
BAD_PX = 2.0


@dataclass(frozen=True)
class Panel:
    """One picture of a figure."""

    title: str
    image: np.ndarray  # (H, W) values, (H, W, 3) RGB or (H, W, 4) RGBA
    label: str = ""  # of the scale; none without it
    limits: tuple[float, float] = (0.0, 1.0)
    colours: str = COLOURS
    above: np.ndarray | None = None  # (H, W, 4) RGBA drawn over it


def draw_disparity(
    left: Image,
    disparity: Disparity,
    path: str | Path | None = None,
    *,
    truth: np.ndarray | None = None,
) -> Figure:
    """The left image, its occluded pixels, disparity and confidence; with truth, that and the error.

    Args:
        left: anything that `StereoPredictor.predict` takes.
        disparity: of the pair, in pixels of this image.
        path: where to write the picture, .png, .jpg, .pdf or .svg; None writes nothing.
        truth: (H, W) px, not finite where unknown: adds the true disparity and the error.

    Returns:
        The figure.
    """
    rgb = as_rgb8(left, "left")
    _check_size("left", rgb, disparity)
    if truth is not None:
        _check_size("truth", truth, disparity)
    shown = disparity.disparity if truth is None else truth
    limits = _limits(shown)
    panels = [
        Panel("left image", rgb),
        Panel("disparity", disparity.disparity, "px", limits),
        _occlusion_panel(rgb, disparity.occlusion),
        Panel("confidence", disparity.confidence, "probability"),
    ]
    if truth is not None:
        known = np.where(np.isfinite(truth), truth, np.nan)
        error = np.abs(disparity.disparity - known)
        panels += [
            Panel("true disparity", known, "px", limits),
            Panel(_error_title(error), error, "px", (0.0, LARGEST_ERROR), "inferno"),
        ]
    return finished(_figure(panels), path)


def _check_size(name: str, image: np.ndarray, disparity: Disparity) -> None:
    if image.shape[:2] != disparity.size:
        raise ValueError(
            f"{name} must have the size of the disparity, {disparity.size}, got {image.shape[:2]}"
        )


def _occlusion_panel(rgb: np.ndarray, occlusion: np.ndarray) -> Panel:
    hidden = occlusion > OCCLUDED_FROM
    mask = hidden[..., None] * np.array(to_rgba(OCCLUDED, alpha=0.7))
    title = f"{100 * hidden.mean():.1f} % occluded"
    return Panel(title, rgb, above=mask)


def _error_title(error: np.ndarray) -> str:
    known = error[np.isfinite(error)]
    if not known.size:
        return "error; nothing is known"
    bad = 100 * (known > BAD_PX).mean()
    return f"error; mean {known.mean():.2f} px, {bad:.1f} % above {BAD_PX:g} px"


def _limits(disp: np.ndarray) -> tuple[float, float]:
    """Ends of the colours: a few stray pixels must not take them."""
    known = disp[np.isfinite(disp)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(known, RANGE))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _figure(panels: list[Panel]) -> Figure:
    """The panels in two columns."""
    H, W = panels[0].image.shape[:2]
    down = -(-len(panels) // 2)
    height = float(np.clip(PANEL_WIDTH * H / W, *PANEL_HEIGHTS)) + TITLE_HEIGHT
    figure = Figure(figsize=(2 * PANEL_WIDTH, down * height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for n, panel in enumerate(panels):
        _draw_panel(figure, figure.add_subplot(down, 2, n + 1), panel)
    return figure


def _draw_panel(figure: Figure, axes: Axes, panel: Panel) -> None:
    settings: dict[str, Any] = {"interpolation": "nearest"}
    if panel.label:
        low, high = panel.limits
        settings |= {"cmap": panel.colours, "vmin": low, "vmax": high}
        axes.set_facecolor(UNKNOWN)
    drawn = axes.imshow(panel.image, **settings)
    if panel.above is not None:
        axes.imshow(panel.above, interpolation="nearest")
    axes.set_title(panel.title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if panel.label:
        scale = axes.inset_axes((1.01, 0, 0.025, 1))  # as high as the picture
        figure.colorbar(drawn, cax=scale, label=panel.label)
