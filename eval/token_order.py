"""The picture of docs/kernels.md: `python -m eval.token_order docs/token_order.png`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attention_ops.pyramid import token_of_cell
from data_scripts.atomic import replacing, writable
from data_scripts.command_line import run_command

SIDE, LEVELS = 8, 3  # cells of the finest map, levels of its pyramid
MARKED = 3  # the coarsest token whose descendants are outlined
COLOURS = ("#cfe3f5", "#d9ecd0", "#fbe6c5", "#f3d0d6")


def main(argv: Sequence[str] | None = None) -> int:
    """Draws it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.token_order", description=__doc__)
    parser.add_argument("out", help="a PNG file")
    out = parser.parse_args(argv).out
    return run_command("error", lambda: draw(writable(out, (".png",))))


def draw(out: Path) -> None:
    """Maps of all levels, and the memory of one below them."""
    matplotlib.use("agg")
    figure = Figure(figsize=(11, 5.6), dpi=100)
    grid = figure.add_gridspec(2, LEVELS, height_ratios=(5, 1.1), hspace=0.12, wspace=0.08)
    for level in range(LEVELS):
        _draw_map(figure.add_subplot(grid[0, level]), level)
    _draw_memory(figure.add_subplot(grid[1, :]))
    with replacing(out) as temporary:
        figure.savefig(temporary, bbox_inches="tight")


def numbers(level: int) -> torch.Tensor:
    """Token number of every cell of a level's map, (H, W)."""
    side = SIDE >> (LEVELS - 1 - level)
    cells = [[token_of_cell((x, y), side, level + 1) for x in range(side)] for y in range(side)]
    return torch.tensor(cells)


def _draw_map(axes: Any, level: int) -> None:
    table = numbers(level)
    side, below = len(table), 4**level
    centre = {int(table[y, x]): (x + 0.5, y + 0.5) for y in range(side) for x in range(side)}
    for token, (x, y) in centre.items():
        axes.add_patch(_square(x - 0.5, y - 0.5, 1, COLOURS[token // below % 4], "white", 1.0))
        axes.text(x, y, token, ha="center", va="center", fontsize=(22, 14, 9)[level], zorder=3)
    path = [centre[token] for token in range(side * side)]
    axes.plot(*zip(*path, strict=True), color="0.45", linewidth=0.8, alpha=0.6)
    first = centre[MARKED * below]
    axes.add_patch(_square(first[0] - 0.5, first[1] - 0.5, side // 2, "none", "#b3123c", 2.5))
    axes.set(xlim=(-0.05, side + 0.05), ylim=(side + 0.05, -0.05), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"level {level}: {side} x {side} cells, {side * side} tokens", fontsize=11)


def _draw_memory(axes: Any) -> None:
    """Level 1 as it lies in memory: the children of a token are one run."""
    for token in range(16):
        axes.add_patch(_square(token, 0, 1, COLOURS[token // 4], "white", 1.0))
        axes.text(token + 0.5, 0.5, token, ha="center", va="center", fontsize=11)
    axes.add_patch(_square(4 * MARKED, 0, 4, "none", "#b3123c", 2.5, height=1))
    axes.text(0, -0.25, "memory of level 1, one head: each token D numbers", fontsize=10)
    note = f"children of token {MARKED}: one read of 4 D numbers"
    axes.text(16, -0.25, note, fontsize=10, ha="right", color="#b3123c")
    axes.set(xlim=(-0.05, 16.05), ylim=(1.1, -0.9))
    axes.set_axis_off()


def _square(
    x: float, y: float, side: float, face: str, edge: str, width: float, height: float | None = None
) -> Any:
    size = side if height is None else height
    return Rectangle(
        (x, y),
        side,
        size,
        facecolor=face,
        edgecolor=edge,
        linewidth=width,
        zorder=2 if face == "none" else 1,
    )


if __name__ == "__main__":
    raise SystemExit(main())
