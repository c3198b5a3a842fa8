"""Matches to files: HDF5, NPZ and CSV with the same fields, each written whole or not at all.

The fields are keypoints0 (N, 2), keypoints1 (N, 2) and confidence (N,); beside them the names and sizes of
both images and the version that made them: attributes in HDF5, scalars in NPZ, comment lines in CSV.
"""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from matching.field_files import digits, write_fields
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
    fields = {
        "keypoints0": matches.kpts0,
        "keypoints1": matches.kpts1,
        "confidence": matches.confidence,
    }
    rows = map(digits, np.column_stack([*fields.values()]))
    write_fields(path, fields, {**asdict(pair), "version": product_version()}, COLUMNS, rows)


def product_version() -> str:
    """The installed version of quadview; "unknown" in a checkout that is not installed."""
    try:
        return version("quadview")
    except PackageNotFoundError:
        return "unknown"
