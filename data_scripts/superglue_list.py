"""Pair lists in SuperGlue's text format, with ground truth; read from their fields as they stand.

One pair a line in 38 fields:

    image0 image1 rot0 rot1 K0 (9, row by row) K1 (9) T_0to1 (16)

K belongs to the image file as it is; rot counts the quarter turns (np.rot90) that make the image upright.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIELDS = 4 + 9 + 9 + 16


@dataclass(frozen=True)
class ListedPair:
    """A line of a list."""

    images: tuple[str, str]  # relative to a folder that the list does not name
    turns: tuple[int, int]  # of each image, 0 to 3
    K: tuple[np.ndarray, np.ndarray]  # (3, 3) px of the image files
    T_0to1: np.ndarray  # (4, 4), before the turns


def read_list(path: Path) -> list[ListedPair]:
    """The pairs of the list at `path`, in its order.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line of another form; the message names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted a list of pairs, got no file; check the path")
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: wanted a text file of pairs, got {error}") from error
    return [_pair(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _pair(line: str, where: str) -> ListedPair:
    fields = line.split()
    if len(fields) != FIELDS:
        raise ValueError(
            f"{where}: wanted {FIELDS} fields, got {len(fields)}; the list needs poses"
        )
    turns = [int(word) if word in ("0", "1", "2", "3") else -1 for word in fields[2:4]]
    if -1 in turns:
        raise ValueError(f"{where}: wanted rotations of 0 to 3, got {' '.join(fields[2:4])}")
    try:
        values = np.array([float(word) for word in fields[4:]])
    except ValueError as error:
        raise ValueError(f"{where}: wanted numbers after the rotations, got {error}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: wanted finite numbers, got {fields[4:]}")
    return ListedPair(
        images=(fields[0], fields[1]),
        turns=(turns[0], turns[1]),
        K=(values[:9].reshape(3, 3), values[9:18].reshape(3, 3)),
        T_0to1=values[18:].reshape(4, 4),
    )
