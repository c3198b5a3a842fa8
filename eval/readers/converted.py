"""Pairs of a data set that `python -m data_scripts` has converted into HDF5."""

from pathlib import Path

import numpy as np

from data_scripts.dataset import ImageRecord, PairRecord, open_dataset
from data_scripts.scannet import FRAME_SIZE
from eval.image_source import ConvertedImage, ImageSource, TurnedImage
from eval.pairs import HomographyTruth, ImagePair, PoseTruth, Truth
from eval.readers.turned import turned_camera


def read_converted(path: Path, intrinsics_at: tuple[int, int] | None = None) -> list[ImagePair]:
    """All pairs of the file with known cameras or a known homography, in its order.

    Args:
        path: of the file.
        intrinsics_at: height and width that intrinsics are scaled to, corner to corner of the pixel grid,
            and then belong to, as the field does for ScanNet; None: they belong to the files.

    Raises:
        FileNotFoundError, ValueError: no such file, or none of this kind; a pair without any truth.
    """
    with open_dataset(path) as data:
        return [_pair(path, record, intrinsics_at) for record in data]


def read_converted_scannet(path: Path) -> list[ImagePair]:
    """The same for ScanNet, whose intrinsics the index gives for frames of 640 x 480."""
    return read_converted(path, FRAME_SIZE)


def _pair(path: Path, record: PairRecord, at: tuple[int, int] | None) -> ImagePair:
    name = f"{record.group}/{record.name}"
    if record.H_0to1 is not None:
        image0, image1 = (
            ConvertedImage(path, image.number) for image in (record.image0, record.image1)
        )
        return ImagePair(name, image0, image1, HomographyTruth(np.asarray(record.H_0to1)))
    sides = [
        _side(path, image, turns, at)
        for image, turns in zip((record.image0, record.image1), record.turns, strict=True)
    ]
    return ImagePair(name, sides[0][0], sides[1][0], _truth(record, sides, name, at))


def _side(
    path: Path, image: ImageRecord, turns: int, at: tuple[int, int] | None
) -> tuple[ImageSource, np.ndarray | None, np.ndarray]:
    """The image, its intrinsics and the turn (4, 4) of its camera."""
    source = ConvertedImage(path, image.number)
    if image.K is None:
        return source, None, np.eye(4)
    K = np.asarray(image.K, np.float64)
    if at is not None:
        K = np.diag([at[1] / image.size[1], at[0] / image.size[0], 1.0]) @ K
    K, turn = turned_camera(K, at or image.size, turns)
    return (TurnedImage(source, turns) if turns else source), K, turn


def _truth(
    record: PairRecord,
    sides: list[tuple[ImageSource, np.ndarray | None, np.ndarray]],
    name: str,
    at: tuple[int, int] | None,
) -> Truth:
    (_, K0, turn0), (_, K1, turn1) = sides
    if K0 is None or K1 is None or record.T_0to1 is None:
        raise ValueError(f"{name}: wanted H_0to1, or K of both images and T_0to1, got neither")
    T_0to1 = turn1 @ np.asarray(record.T_0to1, np.float64) @ np.linalg.inv(turn0)
    return PoseTruth(K0, K1, T_0to1, at)
