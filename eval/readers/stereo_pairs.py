"""Rectified pairs listed in JSON, with the disparity of the left image.

The list holds objects with name, dataset, the file names left, right and disp, disp_scale (stored uint16 values
per pixel of disparity, 0 = unknown) and has_nocc; where that is true, nocc.png beside disp has 255 at pixels
that the right image shows.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.image_files import read_image

VISIBLE = 255  # in nocc.png
KEYS = {"name": str, "dataset": str, "left": str, "right": str, "disp": str, "has_nocc": bool}


@dataclass(frozen=True)
class StereoTruth:
    """What is known of the left image."""

    disp: np.ndarray  # (H, W) float32 px, infinite where unknown
    visible: np.ndarray  # (H, W) bool: known, and the right image shows it


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair of a benchmark."""

    name: str
    group: str  # the data set it is of, whose images are averaged
    left: Path
    right: Path
    disp: Path
    disp_scale: float
    nocc: Path | None  # None: visible means that the match lies in the right image

    def truth(self) -> StereoTruth:
        """Reads the disparity and which pixels the right image shows.

        Raises:
            FileNotFoundError, ValueError: a file is missing, broken or of another size.
        """
        stored = _grey(self.disp, np.uint16)
        disp = (stored / self.disp_scale).astype(np.float32)
        disp[stored == 0] = np.inf
        if self.nocc is None:
            return StereoTruth(disp, np.arange(disp.shape[1]) - disp >= 0)
        nocc = _grey(self.nocc, np.uint8)
        if nocc.shape != disp.shape:
            raise ValueError(
                f"{self.nocc}: wanted the size of disp, {disp.shape}, got {nocc.shape}"
            )
        return StereoTruth(disp, np.isfinite(disp) & (nocc == VISIBLE))


def read_stereo_pairs(path: Path) -> list[StereoPair]:
    """The pairs that the list at `path` names, in its order; files lie relative to it.

    Raises:
        FileNotFoundError: no such list.
        ValueError: not such a list; the message names file, pair and key.
    """
    try:
        rows = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: wanted a JSON list of pairs, got {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: wanted a JSON list of pairs, got {type(rows).__name__}")
    return [_pair(row, n, path) for n, row in enumerate(rows)]


def _pair(row: Any, number: int, path: Path) -> StereoPair:
    where = f"{path}, pair {number}"
    if not isinstance(row, dict):
        raise ValueError(f"{where}: wanted an object, got {type(row).__name__}")
    for key, kind in KEYS.items():
        if not isinstance(row.get(key), kind):
            raise ValueError(f"{where}: wanted {key} as {kind.__name__}, got {row.get(key)!r}")
    scale = row.get("disp_scale")
    if not isinstance(scale, int | float) or not scale > 0:
        raise ValueError(f"{where}: wanted a positive disp_scale, got {scale!r}")
    left, right, disp = (path.parent / row[key] for key in ("left", "right", "disp"))
    nocc = disp.with_name("nocc.png") if row["has_nocc"] else None
    group = row["dataset"].split()[0]
    return StereoPair(row["name"], group, left, right, disp, float(scale), nocc)


def _grey(path: Path, dtype: type) -> np.ndarray:
    stored = read_image(path)
    if stored.ndim != 2 or stored.dtype != dtype:
        raise ValueError(
            f"{path}: wanted a grey picture of {dtype.__name__}, got {stored.dtype} {stored.shape}"
        )
    return stored
