"""The MegaDepth test set of LoFTR: five scene indices of 300 pairs each, and undistorted photographs.

`megadepth_test_1500.txt` lists the indices (`NAME.npz`, raw pickles that are read without running anything);
the photographs lie below the folder at the paths that the indices give (Undistorted_SfM/SCENE/images/).
"""

from pathlib import Path

from data_scripts.megadepth import MegaDepthPair, read_pairs
from eval.pairs import ImagePair, PoseTruth
from eval.readers.found import first_folder, found_all

LIST = "megadepth_test_1500.txt"
INDEX_FOLDERS = (".", "assets/megadepth_test_1500_scene_info", "megadepth_test_1500_scene_info")
WHERE_FROM = (
    "MegaDepth (Li and Snavely 2018): Undistorted_SfM of the scenes 0015 and 0022, in the folder "
    "megadepth_test_1500 that LoFTR links to (about 1.1 GB)"
)


def read_megadepth1500(folder: Path) -> list[ImagePair]:
    """All pairs of all listed indices, in their order.

    Raises:
        FileNotFoundError: no list, no index or no photographs; says how many and where they come from.
    """
    index = first_folder(folder, INDEX_FOLDERS, LIST, WHERE_FROM)
    names = [line.strip() for line in (index / LIST).read_text().splitlines() if line.strip()]
    pairs = [
        (name.removesuffix(".npz"), pair)
        for name in names
        for pair in read_pairs(index / f"{name.removesuffix('.npz')}.npz")
    ]
    roots = [root for root in (folder, index, folder.parent) if _image(root, pairs[0][1]).is_file()]
    root = roots[0] if roots else folder
    found = [_pair(root, name, pair) for name, pair in pairs]
    found_all([path for pair in found for path in (pair.image0, pair.image1)], WHERE_FROM)
    return found


def _image(root: Path, pair: MegaDepthPair, side: int = 0) -> Path:
    return root / pair.views[side].image_path


def _pair(root: Path, index: str, pair: MegaDepthPair) -> ImagePair:
    path0, path1 = _image(root, pair, 0), _image(root, pair, 1)
    truth = PoseTruth(pair.views[0].K, pair.views[1].K, pair.T_0to1)
    return ImagePair(f"{index}/{path0.stem}--{path1.stem}", path0, path1, truth)
