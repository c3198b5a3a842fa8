"""Pairs of a converted data set as training material: images and the motion, or disparity, of every pixel."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from data_scripts.dataset import Dataset, ImageRecord, PairRecord, open_dataset
from data_scripts.depth_pose import PosedImage, posed_pair
from data_scripts.homography_list import homography_pair
from data_scripts.images import FloatMap, fit_long_side, resize_map, resized
from data_scripts.rectified import RectifiedPair
from data_scripts.schema import OCCLUDED
from data_scripts.shard_files import scaled_K
from data_scripts.stereo_labels import SideLabels, labelled_images
from data_scripts.two_view import TwoView

View = TypeVar("View")


def converted_pairs(
    paths: Sequence[Path], view: Callable[[PairRecord], View]
) -> list[Callable[[], View]]:
    """A reader for each pair of the converted sets at `paths`; `view` makes of a pair what is trained on."""
    sets = [open_dataset(path) for path in paths]
    return [partial(_read, data, number, view) for data in sets for number in range(len(data))]


def _read(data: Dataset, number: int, view: Callable[[PairRecord], View]) -> View:
    return view(data[number])


def labelled_view(pair: PairRecord, long_side: int | None = 640) -> TwoView:
    """Images and labels of `pair`, each image resized to `long_side`; None: as it is.

    Raises:
        ValueError: the pair has neither a homography nor depth, intrinsics and motion, or is turned.
    """
    if pair.turns != (0, 0):
        raise ValueError(
            f"{pair.name}: wanted upright images, got quarter turns {pair.turns}; leave such pairs out"
        )
    if pair.H_0to1 is not None:
        return _of_homography(pair, pair.H_0to1, long_side)
    if pair.T_0to1 is None:
        raise ValueError(
            f"{pair.name}: wanted a homography or the motion of the camera, got neither"
        )
    first = _posed(pair.image0, np.eye(4)).resized(long_side)  # the world is the first camera
    return posed_pair(first, _posed(pair.image1, pair.T_0to1).resized(long_side))


def labelled_rectified(pair: PairRecord) -> RectifiedPair:
    """Images and disparities of a stereo `pair`.

    Raises:
        ValueError: the left image has no disparity, or one of another size.
    """
    sides = [_side_labels(record) for record in (pair.image0, pair.image1)]
    if sides[0] is None:
        raise ValueError(f"{pair.name}: wanted the disparity of the left image, got none")
    pictures = [pair.image0.rgb(), pair.image1.rgb()]
    return labelled_images(pictures, [pair.image0.name, pair.image1.name], sides[0], sides[1])


def _side_labels(record: ImageRecord) -> SideLabels | None:
    disp, seen = record.disparity(), record.occlusion()
    if disp is None:
        return None
    return SideLabels(disp, None if seen is None else seen == OCCLUDED)


def _of_homography(pair: PairRecord, H_0to1: np.ndarray, long_side: int | None) -> TwoView:
    images, scales = [], []
    for record in (pair.image0, pair.image1):
        size = fit_long_side(record.size, long_side)
        images.append(resized(record.rgb(), size))
        scales.append(resize_map(record.size, size))
    return homography_pair(images[0], images[1], scales[1] @ H_0to1 @ np.linalg.inv(scales[0]))


def _posed(record: ImageRecord, T_world_to_cam: np.ndarray) -> PosedImage:
    depth = record.depth()
    if depth is None or record.K is None:
        lacking = "depth" if depth is None else "intrinsics"
        raise ValueError(
            f"{record.name}: wanted depth and intrinsics to tell the motion of pixels, got no {lacking}; "
            "convert the set with depth"
        )
    return PosedImage(record.rgb(), _registered(record, depth, record.K), record.K, T_world_to_cam)


def _registered(record: ImageRecord, depth: FloatMap, K: np.ndarray) -> FloatMap:
    """`depth` on the grid of the image, as large as it is; nearest, so that no depth is made up.

    A depth camera with other intrinsics is taken to stand where the colour camera stands.
    """
    if record.K_depth is None:
        return depth
    height, width = depth.shape
    to_image = scaled_K(K, record.size, (height, width)) @ np.linalg.inv(record.K_depth)
    return np.asarray(
        cv2.warpPerspective(depth, to_image, (width, height), flags=cv2.INTER_NEAREST), np.float32
    )
