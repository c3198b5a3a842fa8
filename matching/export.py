"""Matches to files: HDF5, NPZ and CSV with the same fields, each written whole or not at all.

The fields are keypoints0 (N, 2), keypoints1 (N, 2) and confidence (N,); beside them the names and sizes of
both images and the version that made them: attributes in HDF5, scalars in NPZ, comment lines in CSV.
"""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing, writable
from matching.matches import Matches

COLUMNS = ("x0", "y0", "x1", "y1", "confidence")  # of the CSV table


@dataclass(frozen=True)
class PairInfo:
    """Which images were matched."""

    image0: str  # path or name
    image1: str
    height0: int  # px, of the image as given
    width0: int
    height1: int
    width1: int


def write_matches(path: str | Path, matches: Matches, pair: PairInfo) -> None:
    """Writes to `path` in the format that its suffix names: .h5, .hdf5, .npz or .csv."""
    path = writable(path, tuple(WRITERS))
    notes = {**asdict(pair), "version": product_version()}
    with replacing(path) as temporary:
        WRITERS[path.suffix.lower()](temporary, _fields(matches), notes)


def product_version() -> str:
    """The installed version of quadview; "unknown" in a checkout that is not installed."""
    try:
        return version("quadview")
    except PackageNotFoundError:
        return "unknown"


def _fields(matches: Matches) -> dict[str, np.ndarray]:
    return {
        "keypoints0": matches.kpts0,
        "keypoints1": matches.kpts1,
        "confidence": matches.confidence,
    }


def _write_h5(path: Path, fields: dict[str, np.ndarray], notes: dict[str, str | int]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values)
        file.attrs.update(notes)


def _write_npz(path: Path, fields: dict[str, np.ndarray], notes: dict[str, str | int]) -> None:
    everything = {**fields, **{name: np.array(value) for name, value in notes.items()}}
    np.savez(path, allow_pickle=False, **everything)


def _write_csv(path: Path, fields: dict[str, np.ndarray], notes: dict[str, str | int]) -> None:
    table = np.column_stack([fields["keypoints0"], fields["keypoints1"], fields["confidence"]])
    with path.open("w", newline="", encoding="utf-8") as file:
        for name, value in notes.items():
            one_line = " ".join(str(value).splitlines())
            file.write(f"# {name}: {one_line}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        # Nine digits bring a float32 back to the last bit.
        writer.writerows([f"{value:.9g}" for value in row] for row in table)


WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray], dict[str, str | int]], None]] = {
    ".h5": _write_h5,
    ".hdf5": _write_h5,
    ".npz": _write_npz,
    ".csv": _write_csv,
}
