"""Pictures of what attention costs, with matplotlib's object API: no window, no global figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from data_scripts.figure_file import finished
from eval.cost import CostRow, crossover

DPI = 110
FIGURES = {  # field of a row: label of the axis and what to divide by
    "flops": ("GFLOP", 1e9),
    "peak_bytes": ("peak memory, MB", 1e6),
    "median_s": ("time, ms", 1e-3),
}
BASE = "quadtree"  # its crossovers with the others are marked


def draw_costs(rows: Sequence[CostRow], title: str, path: Path) -> None:
    """FLOPs, memory and time against tokens, log-log, one row of panels for each pass.

    A cross marks where QuadTree attention becomes cheaper than another contender.
    """
    passes = list(dict.fromkeys(row.pass_name for row in rows))
    figure = Figure(figsize=(13, 4.2 * len(passes)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(passes), len(FIGURES), squeeze=False)
    for line, name in enumerate(passes):
        of_pass = [row for row in rows if row.pass_name == name]
        for column, field in enumerate(FIGURES):
            _panel(axes[line][column], of_pass, field, name)
    axes[0][0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    finished(figure, path)


def _panel(axes: Axes, rows: Sequence[CostRow], field: str, pass_name: str) -> None:
    """One quantity of one pass."""
    label, unit = FIGURES[field]
    names = list(dict.fromkeys(row.name for row in rows))
    for number, name in enumerate(names):
        points = [(r.tokens, getattr(r, field) / unit) for r in rows if r.name == name and r.flops]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", ms=3, label=name, color=f"C{number}")
        at = crossover(rows, BASE, name, field) if name != BASE else None
        if at is not None:
            axes.axvline(at, color=f"C{number}", ls=":", lw=1)
            axes.text(at, 0.02, f" {at:.0f}", transform=axes.get_xaxis_transform(), fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="tokens of a map", ylabel=f"{label}, {pass_name}")
    axes.grid(alpha=0.3, which="both")


def draw_against_accuracy(
    rows: Sequence[CostRow],
    accuracies: Mapping[str, float],
    path: Path,
    label: str = "accuracy as given",
) -> None:
    """Accuracy of each contender, which `label` names, against its FLOPs at the largest size that was run."""
    figure = Figure(figsize=(6, 4.5), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, accuracy in accuracies.items():
        of_name = [r for r in rows if r.name == name and r.flops and r.pass_name == "forward"]
        if of_name:
            largest = max(of_name, key=lambda row: row.tokens)
            assert largest.flops is not None
            axes.scatter(largest.flops / 1e9, accuracy)
            place = (largest.flops / 1e9, accuracy)
            axes.annotate(name, place, xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="GFLOP, forward, largest size", ylabel=label)
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.margins(x=0.15, y=0.08)
    axes.grid(alpha=0.3, which="both")
    finished(figure, path)
