"""`python -m eval points`: how well given points are found, by the point decoder and by a simple baseline.

Writes points.json and points.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from data_scripts.command_line import check_counts, run_command

if TYPE_CHECKING:
    from eval.points import KnownPoints, PointScore

PROG = "python -m eval points"


@dataclass(frozen=True)
class Arguments:
    """Share of points found within 1, 3 and 5 px, on synthetic pairs and on real ones with ground truth."""

    photos: Path | None = None
    """Folder of photographs for synthetic pairs, the one that the decoder was trained on: every twelfth was
    kept for validation and is used here. Without it there are no synthetic pairs."""
    data: Path = Path("../shared/data")
    """Folder that holds homography/ and stereo/; what is missing there is left out."""
    pairs: int = 40
    """Synthetic pairs."""
    side: int = 256
    """Of their images, px."""
    points: int = 400
    """Of each pair."""
    weights: str = "small"
    """Of the matcher: a shipped name or a checkpoint."""
    point_weights: str = "small_points"
    """Of the point decoder: a shipped name or a checkpoint."""
    out: Path = Path("out/points")
    """Folder for points.json and points.md."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 for an input that is not as it must be."""
    return run_command(PROG, lambda: show(tyro.cli(Arguments, prog=PROG, args=argv)))


def show(arguments: Arguments) -> None:
    """Scores, writes the files and prints the table."""
    from data_scripts.atomic import write_text
    from eval.console import print_tables
    from eval.record import write_record
    from eval.tables import markdown, terminal_table

    rows = measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_record(arguments.out / "points.json", settings=arguments, rows=rows)
    lines = [_cells(row) for row in rows]
    write_text(arguments.out / "points.md", markdown(HEADINGS, lines))
    print_tables([terminal_table(HEADINGS, lines, wrap=True)])


def measure(arguments: Arguments) -> "list[PointScore]":
    """Scores both methods on all sets.

    Raises:
        ValueError: a number below 1, or nothing to score on.
        FileNotFoundError: no photographs or weights.
    """
    from eval.points import scores
    from matching.predictor import load_predictor

    check_counts(arguments, "pairs", "points", "side")
    predictor = load_predictor(arguments.weights, point_weights=arguments.point_weights)
    sets = list(_sets(arguments))
    if not sets:
        raise ValueError(f"wanted --photos, or pairs below {arguments.data}, got neither")
    return [row for name, pairs in sets for row in scores(name, predictor, pairs)]


def _sets(arguments: Arguments) -> "Iterator[tuple[str, list[KnownPoints]]]":
    from tqdm import tqdm

    from data_scripts.photos import PhotoFolder
    from eval.points import disparity_points, homography_points, synthetic_pairs
    from eval.readers.any_pairs import read_any_homographies
    from eval.readers.stereo_pairs import read_any_disparities

    if arguments.photos is not None:
        held_out = PhotoFolder(arguments.photos)[::12]
        made = synthetic_pairs(held_out, arguments.pairs, arguments.points, arguments.side)
        yield "synthetic", list(tqdm(made, "pairs", total=arguments.pairs, disable=None))
    for name, folder in (("graf", "opencv_graf"), ("oxford bikes", "oxford")):
        place = arguments.data / "homography" / folder
        if place.is_dir():
            pairs = read_any_homographies(place)
            yield name, [homography_points(pair, arguments.points) for pair in pairs]
    place = arguments.data / "stereo" / "pairs"
    if place.is_dir():
        chosen = [pair for pair in read_any_disparities(place) if pair.name == "Motorcycle"]
        yield "Motorcycle", [disparity_points(pair, arguments.points) for pair in chosen]


HEADINGS = (
    "set",
    "method",
    "from confidence",
    "pairs",
    "points",
    "1 px",
    "3 px",
    "5 px",
    "said visible and within 5 px",
)


def _cells(row: "PointScore") -> list[str]:
    shares = (row.within_1px, row.within_3px, row.within_5px, row.precision_5px)
    return [
        row.name,
        row.method,
        f"{row.threshold:g}",
        str(row.pairs),
        str(row.points),
        *(f"{100 * share:.1f} %" for share in shares),
    ]
