"""Curves of how fast point decoders learn, with matplotlib's object API: no window, no global figure."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_scripts.figure_file import finished
from eval.convergence import Row, final_accuracy

DPI = 110
PANELS = {"within_8px": "points within 8 px", "within_4px": "points within 4 px"}
BASE = "full"  # whose accuracy at the end is marked


def draw_convergence(rows: Sequence[Row], title: str, path: Path) -> None:
    """Accuracy against steps, one thin line for each seed and a thick one for their mean."""
    figure = Figure(figsize=(11, 4.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (field, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for number, name in enumerate(dict.fromkeys(row.attention for row in rows)):
            runs = _runs(rows, name, field)
            for run in runs:
                axes.plot(*zip(*run.items(), strict=True), color=f"C{number}", lw=0.6, alpha=0.5)
            steps = [step for step in runs[0] if all(step in run for run in runs)]
            mean = [sum(run[step] for run in runs) / len(runs) for step in steps]
            axes.plot(steps, mean, color=f"C{number}", lw=2, label=f"{name} ({len(runs)} seeds)")
        axes.set(xlabel="steps", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        if field == "within_8px" and any(row.attention == BASE for row in rows):
            seeds = dict.fromkeys(row.seed for row in rows if row.attention == BASE)
            ends = [final_accuracy(rows, BASE, seed) for seed in seeds]
            axes.axhline(sum(ends) / len(ends), color="black", ls=":", lw=1)
        if field == "within_8px":
            own = rows[0].own_place_8px
            axes.axhline(own, color="grey", ls="--", lw=1, label="own place, no decoder")
        axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    finished(figure, path)


def _runs(rows: Sequence[Row], name: str, field: str) -> list[dict[int, float]]:
    """Step to value, for each seed of one decoder."""
    seeds = dict.fromkeys(row.seed for row in rows if row.attention == name)
    return [
        {row.step: getattr(row, field) for row in rows if (row.attention, row.seed) == (name, seed)}
        for seed in seeds
    ]
