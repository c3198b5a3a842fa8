"""HPatches, the full sequences: folders i_* and v_* with 1.ppm to 6.ppm and H_1_2 to H_1_6."""

from pathlib import Path

import numpy as np

from eval.pairs import HomographyTruth, ImagePair
from eval.readers.converted import read_converted
from eval.readers.found import found_all

# Left out by D2-Net (Dusmanu et al. 2019) and all who follow it: their images are too large for its GPU.
LEFT_OUT = frozenset(
    (
        "i_contruction",
        "i_crownnight",
        "i_dc",
        "i_pencils",
        "i_whitebuilding",
        "v_artisans",
        "v_astronautis",
        "v_talent",
    )
)
WHERE_FROM = "hpatches-sequences-release (Balntas et al. 2017, about 1.3 GB, research use)"


def read_hpatches(folder: Path) -> list[ImagePair]:
    """Image 1 with images 2 to 6 of each sequence, without those that the field leaves out.

    Raises:
        FileNotFoundError: no sequence, or images are missing.
        ValueError: a homography that is no 3 x 3 matrix.
    """
    inside = folder / "hpatches-sequences-release"
    root = inside if inside.is_dir() else folder
    sequences = sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and path.name[:2] in ("i_", "v_") and path.name not in LEFT_OUT
    )
    if not sequences:
        raise FileNotFoundError(
            f"{root}: wanted folders i_* and v_*, got none; they come with {WHERE_FROM}"
        )
    pairs = [_pair(sequence, number) for sequence in sequences for number in range(2, 7)]
    found_all([path for pair in pairs for path in (pair.image0, pair.image1)], WHERE_FROM)
    return pairs


def read_converted_hpatches(path: Path) -> list[ImagePair]:
    """The same from a converted file, which holds all sequences."""
    pairs = read_converted(path)
    return [pair for pair in pairs if pair.name.split("/")[0] not in LEFT_OUT]


def _pair(sequence: Path, number: int) -> ImagePair:
    path0, path1 = sequence / "1.ppm", sequence / f"{number}.ppm"
    return ImagePair(f"{sequence.name}/1--{number}", path0, path1, _truth(sequence, number))


def _truth(sequence: Path, number: int) -> HomographyTruth:
    path = sequence / f"H_1_{number}"
    try:
        H = np.loadtxt(path)
    except ValueError as error:
        raise ValueError(f"{path}: wanted a matrix (3, 3), got: {error}") from error
    if H.shape != (3, 3) or not np.isfinite(H).all():
        raise ValueError(f"{path}: wanted a finite matrix (3, 3), got {H.shape}")
    return HomographyTruth(H)
