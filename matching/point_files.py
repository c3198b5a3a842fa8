"""Points from files and back: lists of points, where they lie in another image, their tracks in a video.

Each file appears whole or not at all.
"""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing, writable
from data_scripts.untrusted import read_npy, read_npz, told_as
from matching.export import PairInfo, product_version
from matching.field_files import digits, write_csv, write_fields
from matching.point_prediction import PointMatches, as_points
from matching.point_tracks import Tracks

READ_SUFFIXES = (".csv", ".txt", ".npy", ".npz")
TRACK_SUFFIXES = (".csv", ".npz")
MAX_BYTES = 2**28  # of a list of points
ENTRY = "points"  # in .npz
POINTS = "points (N, 2) saved by NumPy"


def read_points(path: Path) -> np.ndarray:
    """Points (N, 2) float64 in a file; see READ_SUFFIXES.

    Text has one point a line, x and y first, divided by commas, semicolons or spaces; further columns,
    empty lines, what follows a # and one line of headings are passed over. Of .npz the entry `points` is
    read, or the only one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or what is inside are no points; the message names the line.
    """
    if path.suffix.lower() not in READ_SUFFIXES:
        raise ValueError(
            f"{path}: wanted a list of points ({', '.join(READ_SUFFIXES)}), got {path.suffix!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of points; check the path")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: wanted at most {MAX_BYTES} bytes of points; split the list")
    if path.suffix.lower() in (".npy", ".npz"):
        return _numbers(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: wanted text, x and y on each line, got other bytes") from error
    return _text(path, lines)


def write_points(path: Path, points0: np.ndarray, found: PointMatches, pair: PairInfo) -> None:
    """Writes points and where they lie: .csv, .h5 or .npz."""
    fields = {"points0": points0.astype(np.float32), **vars(found)}
    numbers = np.column_stack([fields["points0"], found.points1, found.confidence])
    rows = [[*digits(row), int(seen)] for row, seen in zip(numbers, found.visible, strict=True)]
    columns = ("x0", "y0", "x1", "y1", "confidence", "visible")
    write_fields(path, fields, {**asdict(pair), "version": product_version()}, columns, rows)


def write_tracks(path: Path, tracks: Tracks) -> None:
    """Writes tracks: .npz (frames, points (T, N, 2), confidence (T, N)) or .csv, a row a point and frame."""
    path = writable(path, TRACK_SUFFIXES)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".npz":
            np.savez(
                temporary,
                allow_pickle=False,
                frames=np.array(tracks.names),
                points=tracks.points,
                confidence=tracks.confidence,
                version=np.array(product_version()),
            )
            return
        rows = (
            (name, number, *digits((*point, sure)))
            for name, points, confidence in zip(
                tracks.names, tracks.points, tracks.confidence, strict=True
            )
            for number, (point, sure) in enumerate(zip(points, confidence, strict=True))
        )
        write_csv(temporary, ("frame", "point", "x", "y", "confidence"), rows, {})


def _numbers(path: Path) -> np.ndarray:
    """Points of a NumPy file, which must hold no pickles."""
    with told_as(path, POINTS):
        if path.suffix.lower() == ".npy":
            return as_points(read_npy(path, POINTS), str(path))
        saved = read_npz(path, POINTS)
        name = ENTRY if ENTRY in saved or len(saved) != 1 else next(iter(saved))
        return as_points(saved[name], f"{path}: {name}")


def _text(path: Path, lines: list[str]) -> np.ndarray:
    found: list[tuple[float, float]] = []
    heading = True  # one line of words may stand before the numbers
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split(r"[,;\s]+", line.split("#")[0].strip()) if word]
        if not words:
            continue
        try:
            x, y = (float(word) for word in words[:2])
        except ValueError as error:
            if heading and not found:
                heading = False
                continue
            raise ValueError(
                f"{path}, line {number}: wanted x and y in pixels, got {line.strip()[:60]!r}"
            ) from error
        found.append((x, y))
    return np.array(found, np.float64).reshape(-1, 2)
