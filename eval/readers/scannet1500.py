"""The ScanNet test set of LoFTR: `test.npz`, `intrinsics.npz` and the frames of 100 scenes.

Frames lie at SCENE/color/N.jpg and, if there, their camera-to-world poses at SCENE/pose/N.txt; both below the
folder of the index or the folder above it. Intrinsics belong to frames of 640 x 480.
"""

from pathlib import Path

import numpy as np

from data_scripts.scannet import FRAME_SIZE, ScanNetPair, read_pairs
from eval.pairs import ImagePair, PoseTruth
from eval.readers.found import first_folder, found_all

INDEX_FOLDERS = (".", "assets/scannet_test_1500", "scannet_test_1500")
WHERE_FROM = (
    "the folder scannet_test_1500 that LoFTR links to (about 1.6 GB; the data are ScanNet's, under its "
    "terms of use, non-commercial)"
)


def read_scannet1500(folder: Path) -> list[ImagePair]:
    """The pairs of the index in or below `folder`, in its order.

    Raises:
        FileNotFoundError: no index, or frames are missing; says how many and where they come from.
    """
    index = first_folder(folder, INDEX_FOLDERS, "test.npz", WHERE_FROM)
    pairs = read_pairs(index / "test.npz", index / "intrinsics.npz")
    roots = [root for root in (index, folder, folder.parent) if _frame(root, pairs[0], 0).is_file()]
    root = roots[0] if roots else folder
    found = [_pair(root, pair) for pair in pairs]
    found_all([path for pair in found for path in (pair.image0, pair.image1)], WHERE_FROM)
    return found


def _frame(root: Path, pair: ScanNetPair, side: int) -> Path:
    return root / pair.scene / "color" / f"{pair.frames[side]}.jpg"


def _pair(root: Path, pair: ScanNetPair) -> ImagePair:
    first, second = pair.frames
    truth = PoseTruth(pair.K, pair.K, _pose(root, pair), FRAME_SIZE)
    name = f"{pair.scene}/{first}--{second}"
    return ImagePair(name, _frame(root, pair, 0), _frame(root, pair, 1), truth)


def _pose(root: Path, pair: ScanNetPair) -> np.ndarray:
    """T_0to1 from the pose files, as LoFTR's loader does, or from the index where there are none."""
    files = [root / pair.scene / "pose" / f"{frame}.txt" for frame in pair.frames]
    if not all(file.is_file() for file in files):
        return pair.T_0to1
    world0, world1 = (np.loadtxt(file).reshape(4, 4) for file in files)
    return np.linalg.inv(world1) @ world0
