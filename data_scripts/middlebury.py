"""Middlebury stereo (2014, 2021, the v3 benchmark) and ETH3D two-view, which share one layout.

A scene is a folder with im0.png, im1.png and disp0GT.pfm (benchmark) or disp0.pfm (scenes by year);
the right disparity and the masks may be absent. The vertical disparities (disp0GTy.pfm) of the
imperfectly rectified scenes are left aside: they stay below half a pixel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.disparity_files import read_pfm
from data_scripts.image_files import read_image
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_labels import SideLabels, labelled_pair

OCCLUDED = 128  # in the masks: 255 seen by both, 0 unknown


@dataclass(frozen=True)
class MiddleburyFiles:
    """One scene; index 0 is the left image."""

    images: tuple[Path, Path]
    disps: tuple[Path, Path | None]
    masks: tuple[Path | None, Path | None]


def find_pairs(root: Path) -> list[MiddleburyFiles]:
    """All scenes with a disparity at or below `root`, sorted by path."""
    scenes = [path.parent for path in sorted(root.rglob("im0.png"))]
    found = [files for scene in scenes if (files := _files(scene)) is not None]
    if not found:
        raise FileNotFoundError(
            f"{root} must hold folders with im0.png, im1.png and disp0GT.pfm or disp0.pfm, got "
            f"{len(scenes)} with im0.png and none with all; unpack a training set there"
        )
    return found


def _files(scene: Path) -> MiddleburyFiles | None:
    """The files of `scene`, None where the left disparity or the right image is missing."""
    disps = [_first(scene / f"disp{side}GT.pfm", scene / f"disp{side}.pfm") for side in (0, 1)]
    right = _first(scene / "im1.png")
    if disps[0] is None or right is None:
        return None
    masks = _first(scene / "mask0nocc.png"), _first(scene / "mask1nocc.png")
    return MiddleburyFiles((scene / "im0.png", right), (disps[0], disps[1]), masks)


def _first(*paths: Path) -> Path | None:
    """The first of `paths` that exists."""
    return next((path for path in paths if path.exists()), None)


def read_pair(files: MiddleburyFiles) -> RectifiedPair:
    """Images and disparities of one scene."""
    left = _side(files.disps[0], files.masks[0])
    right = None if files.disps[1] is None else _side(files.disps[1], files.masks[1])
    return labelled_pair(files.images, left, right)


def _side(disp: Path, mask: Path | None) -> SideLabels:
    return SideLabels(read_pfm(disp), None if mask is None else read_mask(mask))


def read_mask(path: Path) -> np.ndarray:
    """Which pixels (H, W) of one image a mask file calls occluded."""
    mask = read_image(path)
    if mask.ndim == 3:
        mask = mask[..., 0]
    return np.asarray(mask == OCCLUDED)
