"""Rectified pairs listed in JSON, with the disparity of the left image.

The list holds objects with name, dataset, the file names left, right and disp, disp_scale (stored uint16 values
per pixel of disparity, 0 = unknown) and has_nocc; where that is true, nocc.png beside disp has 255 at pixels
that the right image shows. The disparity may also be .pfm, .npy or a KITTI .png; then disp_scale is left out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.disparity_files import read_disparity
from data_scripts.image_files import read_image
from data_scripts.untrusted import read_json_rows
from eval.readers.converted_stereo import read_converted_stereo
from eval.set_place import is_converted
from eval.stereo_pairs import StereoPair, StereoTruth, seen_inside

VISIBLE = 255  # in nocc.png
KEYS = {"name": str, "dataset": str, "left": str, "right": str, "disp": str, "has_nocc": bool}


@dataclass(frozen=True)
class ListedTruth:
    """Disparity and mask in files."""

    disp: Path
    disp_scale: float | None  # None: the file says it itself
    nocc: Path | None  # None: visible means that the match lies in the right image

    def read(self) -> StereoTruth:
        """Reads the disparity and which pixels the right image shows.

        Raises:
            FileNotFoundError, ValueError: a file is missing, broken or of another size.
        """
        disp = self._disparity()
        if self.nocc is None:
            return StereoTruth(disp, seen_inside(disp))
        nocc = _grey(self.nocc, np.uint8)
        if nocc.shape != disp.shape:
            raise ValueError(
                f"{self.nocc}: wanted the size of disp, {disp.shape}, got {nocc.shape}"
            )
        return StereoTruth(disp, np.isfinite(disp) & (nocc == VISIBLE), occlusion_known=True)

    def _disparity(self) -> np.ndarray:
        if self.disp_scale is None:
            found = read_disparity(self.disp)
            return np.where(np.isfinite(found), found, np.float32(np.inf))
        stored = _grey(self.disp, np.uint16)
        disp = (stored / self.disp_scale).astype(np.float32)
        disp[stored == 0] = np.inf
        return disp


def read_any_disparities(place: Path) -> list[StereoPair]:
    """The pairs of a list, of the folder that holds index.json, or of a converted file."""
    if is_converted(place):
        return read_converted_stereo(place)
    return read_stereo_pairs(place / "index.json" if place.is_dir() else place)


def read_stereo_pairs(path: Path) -> list[StereoPair]:
    """The pairs that the list at `path` names, in its order; files lie relative to it.

    Raises:
        FileNotFoundError: no such list.
        ValueError: not such a list; the message names file, pair and key.
    """
    return [_pair(row, n, path) for n, row in enumerate(read_json_rows(path))]


def _pair(row: dict[str, Any], number: int, path: Path) -> StereoPair:
    where = f"{path}, pair {number}"
    for key, kind in KEYS.items():
        if not isinstance(row.get(key), kind):
            raise ValueError(f"{where}: wanted {key} as {kind.__name__}, got {row.get(key)!r}")
    scale = row.get("disp_scale")
    if "disp_scale" in row and (not isinstance(scale, int | float) or not scale > 0):
        raise ValueError(f"{where}: wanted a positive disp_scale, got {scale!r}")
    left, right, disp = (path.parent / row[key] for key in ("left", "right", "disp"))
    nocc = disp.with_name("nocc.png") if row["has_nocc"] else None
    group = row["dataset"].split()[0]
    truth = ListedTruth(disp, None if scale is None else float(scale), nocc)
    return StereoPair(row["name"], group, left, right, truth)


def _grey(path: Path, dtype: type) -> np.ndarray:
    stored = read_image(path)
    if stored.ndim != 2 or stored.dtype != dtype:
        raise ValueError(
            f"{path}: wanted a grey picture of {dtype.__name__}, got {stored.dtype} {stored.shape}"
        )
    return stored
