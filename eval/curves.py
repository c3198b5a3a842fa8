"""Curves of results, with matplotlib's object API: no window, no global figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_scripts.figure_file import finished

DPI = 100


@dataclass(frozen=True)
class Curve:
    """A line of a plot."""

    label: str
    errors: np.ndarray  # (N,) infinite where failed


def draw_recall(curves: Sequence[Curve], limit: float, unit: str, title: str, path: Path) -> None:
    """Share of pairs, or of pixels, whose error is at most so large; the AUC is the area below.

    Args:
        curves: one a method or estimator.
        limit: end of the axis of errors.
        unit: of the errors.
        title: above the picture.
        path: of the PNG.
    """
    figure = Figure(figsize=(7, 4.5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        errors = np.sort(curve.errors)
        below = errors[errors <= limit]
        share = np.arange(len(below) + 1) / max(len(errors), 1)
        x = np.concatenate([[0.0], below, [limit]])
        axes.plot(x, 100 * np.append(share, share[-1]), label=curve.label)
    axes.set(xlim=(0, limit), ylim=(0, 100), xlabel=f"error, {unit}", ylabel="recall, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    finished(figure, path)
