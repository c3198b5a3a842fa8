"""SceneFlow, KITTI, Middlebury and ETH3D in their original layouts, found by `data_scripts`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts import kitti, middlebury, sceneflow
from data_scripts.disparity_files import read_kitti_disparity, read_pfm
from data_scripts.image_files import read_image
from eval.stereo_pairs import StereoPair, StereoTruth, seen_inside
from stereo.disparity import occlusion_from_disparities

VISIBLE = 255  # in the masks of Middlebury and ETH3D
NDISP = re.compile(r"^ndisp=(\d+)", re.MULTILINE)
# Middlebury counts these half in the average of the training set (evaluation SDK, version 3).
HALF_WEIGHT = frozenset(("PianoL", "Playroom", "Playtable", "PlaytableP", "Shelves", "Vintage"))


@dataclass(frozen=True)
class SceneFlowTruth:
    """Disparity and occlusion of a rendered pair."""

    files: sceneflow.SceneFlowFiles

    def read(self) -> StereoTruth:
        """Visible by STTR's rules: in the mask, inside both images, and 0 < disparity <= width."""
        disp = known_or_infinite(np.abs(read_pfm(self.files.disps[0])))
        seen = seen_inside(disp) & (disp > 0) & (disp <= disp.shape[1])
        mask, other = self.files.occlusions[0], self.files.disps[1]
        if mask is not None:
            return StereoTruth(disp, seen & ~_marked(mask, disp.shape), occlusion_known=True)
        if other is None:
            return StereoTruth(disp, seen)
        hidden, _ = occlusion_from_disparities(disp, np.abs(read_pfm(other)))
        return StereoTruth(disp, seen & ~hidden, occlusion_known=True)


@dataclass(frozen=True)
class KittiTruth:
    """Sparse disparities; what is in disp_occ but not in disp_noc leaves the right image."""

    files: kitti.KittiFiles
    objects: Path | None  # obj_map of 2015: 0 = background

    def read(self) -> StereoTruth:
        """Visible by disp_noc, or where that folder is absent by x - disparity >= 0."""
        disp = _kitti(self.files.disp)
        foreground = None
        if self.objects is not None:
            foreground = _marked(self.objects, disp.shape)
        if self.files.disp_seen_by_both is None:
            return StereoTruth(disp, seen_inside(disp), foreground=foreground)
        seen = np.isfinite(_kitti(self.files.disp_seen_by_both)) & np.isfinite(disp)
        # It tells nothing of pixels that something nearer covers, so occlusion is not scored.
        return StereoTruth(disp, seen, foreground=foreground)


@dataclass(frozen=True)
class MiddleburyTruth:
    """A scene of Middlebury or ETH3D."""

    files: middlebury.MiddleburyFiles

    def read(self) -> StereoTruth:
        """Visible by mask0nocc.png, or by comparing both disparities, or by x - disparity >= 0."""
        disp = known_or_infinite(read_pfm(self.files.disps[0]))
        mask, other = self.files.masks[0], self.files.disps[1]
        if mask is not None:
            picture = read_image(mask)
            picture = picture if picture.ndim == 2 else picture[..., 0]
            seen = np.isfinite(disp) & (picture == VISIBLE)
            return StereoTruth(disp, seen, occlusion_known=True)
        if other is None:
            return StereoTruth(disp, seen_inside(disp))
        hidden, _ = occlusion_from_disparities(disp, known_or_infinite(read_pfm(other)))
        return StereoTruth(disp, seen_inside(disp) & ~hidden, occlusion_known=True)


def known_or_infinite(disp: np.ndarray) -> np.ndarray:
    """A copy in float32 with infinity for whatever is not finite."""
    return np.where(np.isfinite(disp), disp, np.inf).astype(np.float32)


def _kitti(path: Path) -> np.ndarray:
    stored = read_kitti_disparity(path)
    return np.where(np.isfinite(stored) & (stored > 0), stored, np.inf).astype(np.float32)


def _marked(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    picture = read_image(path)
    picture = picture if picture.ndim == 2 else picture[..., 0]
    if picture.shape != shape:
        raise ValueError(f"{path}: wanted the size of the disparity, {shape}, got {picture.shape}")
    return np.asarray(picture > 0)


def read_sceneflow(render_pass: str) -> Callable[[Path], list[StereoPair]]:
    """Reader of one pass, "clean" or "final": TEST where there is such a folder, else all pairs."""

    def read(root: Path) -> list[StereoPair]:
        found = sceneflow.find_pairs(root, render_pass)
        test = [files for files in found if "TEST" in files.disps[0].parts]
        base = root / "disparity"
        return [_sceneflow_pair(files, base, render_pass) for files in test or found]

    return read


def _sceneflow_pair(files: sceneflow.SceneFlowFiles, base: Path, render_pass: str) -> StereoPair:
    name = files.disps[0].relative_to(base).with_suffix("").as_posix()
    return StereoPair(name, f"SceneFlow {render_pass}", *files.images, SceneFlowTruth(files))


def read_kitti(root: Path) -> list[StereoPair]:
    """The labelled pairs of the training set."""
    pairs = []
    for files in kitti.find_pairs(root):
        objects = files.disp.parents[1] / "obj_map" / files.disp.name
        truth = KittiTruth(files, objects if objects.is_file() else None)
        pairs.append(StereoPair(files.disp.stem, "KITTI", files.left, files.right, truth))
    return pairs


def read_middlebury(root: Path) -> list[StereoPair]:
    """Every scene with a disparity at or below `root`, with ndisp of its calib.txt."""
    return [_scene(files, root, "Middlebury") for files in middlebury.find_pairs(root)]


def read_eth3d(root: Path) -> list[StereoPair]:
    """The same for ETH3D's two-view sets, whose calib.txt has no ndisp."""
    return [_scene(files, root, "ETH3D") for files in middlebury.find_pairs(root)]


def _scene(files: middlebury.MiddleburyFiles, root: Path, group: str) -> StereoPair:
    folder = files.images[0].parent
    name = folder.relative_to(root).as_posix() if folder != root else folder.name
    weight = 0.5 if folder.name in HALF_WEIGHT else 1.0
    calib = folder / "calib.txt"
    found = NDISP.search(calib.read_text()) if calib.is_file() else None
    ndisp = float(found[1]) if found else None
    return StereoPair(name, group, *files.images, MiddleburyTruth(files), weight, ndisp)
