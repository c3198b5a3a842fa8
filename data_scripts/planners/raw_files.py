"""Text and array files beside the pictures of data sets: matrices, calibrations, npz; and what is missing."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_scripts.catalogue import SetFacts
from data_scripts.plan import converter
from data_scripts.schema import DatasetInfo

SHOWN = 3  # missing files that a line names


def info(facts: SetFacts, split: str = "", notes: str = "", name: str = "") -> DatasetInfo:
    """What a converted file says of a set in the catalogue."""
    return DatasetInfo(
        dataset=name or facts.name,
        split=split,
        licence=facts.licence,
        source=facts.source,
        converter=converter(),
        notes=notes,
    )


def existing_folder(root: Path, facts: SetFacts) -> Path:
    """`root`, which must be a folder; says where its content comes from otherwise."""
    if not root.is_dir():
        raise FileNotFoundError(
            facts.missing(f"{root}: wanted the folder of {facts.name}, got none")
        )
    return root


def read_matrix(path: Path, rows: int, columns: int) -> np.ndarray:
    """The first `rows` x `columns` numbers of a text file of one matrix, float64; may be infinite.

    Raises:
        FileNotFoundError: no such file.
        ValueError: other content; the message names the file.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of a matrix; check the folder")
    try:
        found = np.array([[float(x) for x in line.split()] for line in _lines(path)])
    except ValueError as error:
        raise ValueError(f"{path}: wanted a {rows} x {columns} matrix, got {error}") from error
    if found.ndim != 2 or found.shape[0] < rows or found.shape[1] < columns:
        raise ValueError(f"{path}: wanted a {rows} x {columns} matrix, got {found.shape}")
    return found[:rows, :columns]


def read_pose(path: Path) -> np.ndarray | None:
    """T_w2c (4, 4) of a text file of camera to world; None where tracking was lost (not finite)."""
    T_c2w = read_matrix(path, 4, 4)
    if not np.isfinite(T_c2w).all():
        return None
    return rigid_inverse(T_c2w)


def rigid_inverse(T: np.ndarray) -> np.ndarray:
    """The inverse of rigid motions (..., 4, 4), exact to rounding for rotations of six digits."""
    inverse = np.linalg.inv(T)
    inverse[..., 3, :] = (0, 0, 0, 1)
    return inverse


def read_calibration(path: Path) -> dict[str, str]:
    """Lines `name: value` or `name=value` of a calibration file."""
    pairs = (line.replace("=", ":", 1).split(":", 1) for line in _lines(path))
    return {words[0].strip(): words[1].strip() for words in pairs if len(words) == 2}


def numbers(text: str, count: int, path: Path) -> np.ndarray:
    """(count,) float64 in a line of numbers, whatever brackets and semicolons stand between them."""
    for sign in "[];,":
        text = text.replace(sign, " ")
    try:
        found = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise ValueError(f"{path}: wanted {count} numbers, got {error}") from error
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(f"{path}: wanted {count} finite numbers, got {text!r}")
    return found


def read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The plain arrays of an .npz file; never objects, which could run a program."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such index; check the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: wanted an .npz of plain arrays, got {error}") from error


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: wanted a text file, got {error}") from error
    return [line for line in lines if line.strip()]


@dataclass
class Missing:
    """Counts the files that are not there."""

    facts: SetFacts
    count: int = 0
    first: list[str] = field(default_factory=list)

    def lacks(self, path: Path) -> bool:
        """Whether `path` is missing; counts it."""
        if path.exists():
            return False
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(str(path))
        return True

    def remarks(self, what: str) -> list[str]:
        """A line where something is missing."""
        if not self.count:
            return []
        named = ", ".join(self.first)
        return [self.facts.missing(f"{self.count} {what} missing, first {named}")]
