"""Points from files and back: lists of points, where they lie in another image, their tracks in a video.

Each file appears whole or not at all.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing, writable
from data_scripts.untrusted import read_npy, read_npz, told_as
from matching.export import PairInfo, product_version
from matching.point_prediction import PointMatches, as_points
from matching.point_tracks import Tracks

READ_SUFFIXES = (".csv", ".txt", ".npy", ".npz")
PAIR_SUFFIXES = (".csv", ".h5", ".hdf5", ".npz")
TRACK_SUFFIXES = (".csv", ".npz")
MAX_BYTES = 2**28  # of a list of points
ENTRY = "points"  # in .npz
POINTS = "points (N, 2) saved by NumPy"
Fields = Mapping[str, np.ndarray]
Notes = Mapping[str, str | int]


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
    path = writable(path, PAIR_SUFFIXES)
    fields = {"points0": points0.astype(np.float32), **vars(found)}
    notes = {**asdict(pair), "version": product_version()}
    with replacing(path) as temporary:
        _PAIR_WRITERS[path.suffix.lower()](temporary, fields, notes)


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
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("frame", "point", "x", "y", "confidence"))
            for t, name in enumerate(tracks.names):
                rows = zip(tracks.points[t], tracks.confidence[t], strict=True)
                for number, ((x, y), sure) in enumerate(rows):
                    writer.writerow((name, number, f"{x:.9g}", f"{y:.9g}", f"{sure:.9g}"))


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


def _write_h5(path: Path, fields: Fields, notes: Notes) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values)
        file.attrs.update(notes)


def _write_npz(path: Path, fields: Fields, notes: Notes) -> None:
    everything = {**fields, **{name: np.array(value) for name, value in notes.items()}}
    np.savez(path, allow_pickle=False, **everything)


def _write_csv(path: Path, fields: Fields, notes: Notes) -> None:
    numbers = np.column_stack([fields["points0"], fields["points1"], fields["confidence"]])
    with path.open("w", newline="", encoding="utf-8") as file:
        for name, value in notes.items():
            one_line = " ".join(str(value).splitlines())
            file.write(f"# {name}: {one_line}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("x0", "y0", "x1", "y1", "confidence", "visible"))
        for row, visible in zip(numbers, fields["visible"], strict=True):
            writer.writerow([*(f"{value:.9g}" for value in row), int(visible)])


_PAIR_WRITERS: dict[str, Callable[[Path, Fields, Notes], None]] = {
    ".csv": _write_csv,
    ".h5": _write_h5,
    ".hdf5": _write_h5,
    ".npz": _write_npz,
}
