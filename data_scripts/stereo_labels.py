"""A RectifiedPair from what the files of measured and rendered sets hold: one rule for all of them.

A disparity is known where it is finite and above 0. A pixel is occluded where the set says so and
where its match lies outside the other image; a set that says nothing but has the disparities of
both images is asked by comparing them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_scripts.images import FloatMap, Image, read_rgb, to_tensor
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_occlusion import occlusion

# between measured disparities; the rule of STTR's find_occ_mask (Li et al. 2021)
MEASURED_TOLERANCE_PX = 1.0


@dataclass(frozen=True)
class SideLabels:
    """What a set says of one image."""

    disp: FloatMap  # (H, W) px; 0, negative, infinite or NaN where unknown
    occluded: NDArray[np.bool_] | None = None  # (H, W); None: the set does not say


def labelled_pair(
    image_paths: Sequence[Path], left: SideLabels, right: SideLabels | None = None
) -> RectifiedPair:
    """The pair of the left and right image at `image_paths` with the labels of one or both."""
    names = [str(path) for path in image_paths]
    return labelled_images([read_rgb(path) for path in image_paths], names, left, right)


def labelled_images(
    pictures: Sequence[Image],
    names: Sequence[str],
    left: SideLabels,
    right: SideLabels | None = None,
) -> RectifiedPair:
    """The same of images (H, W, 3) uint8 that are read already, and their names for messages."""
    images = [to_tensor(picture) for picture in pictures]
    for name, labels in zip(names, (left, right), strict=True):
        if labels is not None and labels.disp.shape != images[0].shape[1:]:
            raise ValueError(
                f"the disparity of {name} must be of its size {tuple(images[0].shape[1:])}, got "
                f"{labels.disp.shape}; use images and disparities of one resolution"
            )
    disp, known, occluded = _side(left, right, sign=-1)
    if right is None:
        return RectifiedPair(images[0], images[1], disp, known, occluded)
    return RectifiedPair(images[0], images[1], disp, known, occluded, *_side(right, left, sign=1))


def _side(
    labels: SideLabels, other: SideLabels | None, sign: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Disparity, known and occluded (H, W) of one image; sign as in `occlusion`."""
    disp, known = _cleaned(labels.disp)
    x = np.arange(disp.shape[1], dtype=np.float32) + np.float32(sign) * disp
    occluded = known & ((x < 0) | (x > disp.shape[1] - 1))
    if labels.occluded is not None:
        occluded |= labels.occluded
    elif other is not None:
        one_surface = np.zeros(disp.shape, np.int16)
        # an unknown disparity of 0 covers nothing
        there, _ = _cleaned(other.disp)
        hidden = occlusion(disp, one_surface, there, one_surface, sign, MEASURED_TOLERANCE_PX)
        occluded |= known & hidden
    return torch.from_numpy(disp), torch.from_numpy(known), torch.from_numpy(occluded)


def _cleaned(disp: FloatMap) -> tuple[FloatMap, NDArray[np.bool_]]:
    """`disp` with 0 where unknown, and where it is known."""
    known = np.isfinite(disp) & (disp > 0)
    return np.where(known, disp, np.float32(0)), known
