"""KITTI 2012 and 2015 stereo in their own folders: sparse disparities of the left image.

`training/` holds image_2, image_3, disp_occ_0 and disp_noc_0 (2015), or colored_0, colored_1,
disp_occ and disp_noc (2012). What is in disp_occ but not in disp_noc leaves the right image; what
is covered there is not told.
"""

from dataclasses import dataclass
from pathlib import Path

from data_scripts.disparity_files import read_kitti_disparity
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_labels import SideLabels, labelled_pair

# left images, right images, all disparities, those of pixels seen by both
LAYOUTS = (
    ("image_2", "image_3", "disp_occ_0", "disp_noc_0"),
    ("colored_0", "colored_1", "disp_occ", "disp_noc"),
)
REFERENCE_FRAMES = "*_10.png"  # the others have no disparity


@dataclass(frozen=True)
class KittiFiles:
    """One labelled pair."""

    left: Path
    right: Path
    disp: Path
    disp_seen_by_both: Path | None  # None: that folder was not unpacked


def find_pairs(root: Path) -> list[KittiFiles]:
    """The labelled pairs under `root`, the folder `training` or the one that holds it."""
    base = root / "training" if (root / "training").is_dir() else root
    for names in LAYOUTS:
        left, right, disp, seen = (base / name for name in names)
        if not (left.is_dir() and right.is_dir() and disp.is_dir()):
            continue
        return [
            KittiFiles(left / name, right / name, disp / name, seen / name if has_seen else None)
            for name in sorted(path.name for path in disp.glob(REFERENCE_FRAMES))
            for has_seen in [(seen / name).exists()]
        ]
    wanted = " or ".join(", ".join(names[:3]) for names in LAYOUTS)
    raise FileNotFoundError(
        f"{base} must hold the folders {wanted}; unpack KITTI's stereo zip there"
    )


def read_pair(files: KittiFiles) -> RectifiedPair:
    """Images and disparity of one pair."""
    disp = read_kitti_disparity(files.disp)
    occluded = None
    if files.disp_seen_by_both is not None:
        occluded = (disp > 0) & (read_kitti_disparity(files.disp_seen_by_both) == 0)
    return labelled_pair((files.left, files.right), SideLabels(disp, occluded))
