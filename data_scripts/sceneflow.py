"""SceneFlow (FlyingThings3D and its DispNet subset, Monkaa, Driving): rendered, dense, both sides.

A root holds `disparity/`, a folder of images with the same paths below it, and perhaps
`occlusion/` with masks. Somewhere in every path stands `left` or `right`:
disparity/TRAIN/A/0000/left/0006.pfm and frames_finalpass/TRAIN/A/0000/left/0006.png, say.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.disparity_files import read_pfm
from data_scripts.image_files import read_image
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_labels import SideLabels, labelled_pair

# the full set, STTR's layout, the sampler, the DispNet subset
IMAGE_FOLDERS = {
    "clean": ("frames_cleanpass", "frame_cleanpass", "RGB_cleanpass", "image_clean"),
    "final": ("frames_finalpass", "frame_finalpass", "RGB_finalpass", "image_final"),
}
IMAGE_SUFFIXES = (".png", ".webp")
SIDES = ("left", "right")


@dataclass(frozen=True)
class SceneFlowFiles:
    """One pair; index 0 is the left image."""

    images: tuple[Path, Path]
    disps: tuple[Path, Path | None]
    occlusions: tuple[Path | None, Path | None]


def find_pairs(root: Path, render_pass: str = "final") -> list[SceneFlowFiles]:
    """All pairs below `root` in the "clean" or the "final" pass, sorted by path."""
    if render_pass not in IMAGE_FOLDERS:
        raise ValueError(f"render_pass must be {' or '.join(IMAGE_FOLDERS)}, got {render_pass!r}")
    folders = [root / name for name in IMAGE_FOLDERS[render_pass] if (root / name).is_dir()]
    if not folders or not (root / "disparity").is_dir():
        raise FileNotFoundError(
            f"{root} must hold disparity and one of {', '.join(IMAGE_FOLDERS[render_pass])}; "
            "name the folder into which the archives were unpacked"
        )
    names = [path.relative_to(root / "disparity") for path in (root / "disparity").rglob("*.pfm")]
    lefts = sorted(name for name in names if SIDES[0] in name.parts)
    found = [_files(root, folders[0], name) for name in lefts]
    return [files for files in found if files is not None]


def _files(root: Path, images: Path, left: Path) -> SceneFlowFiles | None:
    """The files of the pair whose left disparity is `left`, None where an image is missing."""
    names = left, _right_of(left)
    pictures = [
        _first([(images / name).with_suffix(suffix) for suffix in IMAGE_SUFFIXES]) for name in names
    ]
    if pictures[0] is None or pictures[1] is None:
        return None
    occlusions = [_first([(root / "occlusion" / name).with_suffix(".png")]) for name in names]
    return SceneFlowFiles(
        images=(pictures[0], pictures[1]),
        disps=(root / "disparity" / left, _first([root / "disparity" / names[1]])),
        occlusions=(occlusions[0], occlusions[1]),
    )


def _right_of(left: Path) -> Path:
    """The path with its last `left` folder exchanged for `right`."""
    parts = list(left.parts)
    place = len(parts) - 1 - parts[::-1].index(SIDES[0])
    parts[place] = SIDES[1]
    return Path(*parts)


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def read_pair(files: SceneFlowFiles) -> RectifiedPair:
    """Images and disparities of one pair."""
    left = _side(files.disps[0], files.occlusions[0])
    right = None if files.disps[1] is None else _side(files.disps[1], files.occlusions[1])
    return labelled_pair(files.images, left, right)


def _side(disp: Path, occlusion: Path | None) -> SideLabels:
    """Labels of one image; some releases store the motion of the pixel, which is negative."""
    occluded = None
    if occlusion is not None:
        mask = read_image(occlusion)
        occluded = np.asarray((mask if mask.ndim == 2 else mask[..., 0]) > 0)
    return SideLabels(np.abs(read_pfm(disp)), occluded)
