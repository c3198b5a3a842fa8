"""From two images as given to what the network takes, and its maps back to pixels as given.

Shrinks by averaging areas and pads at the bottom and the right by repeating the edge, both images alike, so
that disparities only change by the ratio of the widths.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from data_scripts.given_images import Image, as_array, full_scale
from data_scripts.shrink import fitted_size, shrink
from stereo.disparity import Disparity


@dataclass(frozen=True)
class PreparedPair:
    """Both images at the size that the network should see, not yet cut or padded."""

    left: np.ndarray  # (h, w, 3) float32 RGB in [0, 1]
    right: np.ndarray  # (h, w, 3)
    size: tuple[int, int]  # (H, W) as given


def prepare_pair(left: Image, right: Image, long_side: int | None) -> PreparedPair:
    """Checks, colours and shrinks a pair.

    uint16 images are divided by one full scale, that of the brighter one: eyes of one camera share their
    bit depth, and judged apart a dark one could be taken for one of fewer bits.

    Raises:
        ValueError: unequal sizes, or what `as_array` raises, as TypeError and FileNotFoundError.
    """
    arrays = as_array(left, "left"), as_array(right, "right")
    (H, W), right_size = (array.shape[:2] for array in arrays)
    if right_size != (H, W):
        raise ValueError(
            f"left and right must have the same size, got {(H, W)} and {right_size} (height, width); "
            "rectify the pair, which gives both one size"
        )
    scales = [full_scale(array) for array in arrays]
    if arrays[0].dtype == arrays[1].dtype:
        scales = [max(scales)] * 2
    height, width = fitted_size(H, W, long_side)
    ready = [
        # Means of areas may leave [0, 1] by a rounding.
        shrink(_rgb(array, scale), height, width).clip(0, 1)
        for array, scale in zip(arrays, scales, strict=True)
    ]
    return PreparedPair(ready[0], ready[1], (H, W))


def _rgb(array: np.ndarray, scale: float) -> np.ndarray:
    image = array.astype(np.float32) / np.float32(scale)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def padded_tensor(image: np.ndarray, multiple: int, smallest: int) -> Tensor:
    """(1, 3, h', w') of an image (h, w, 3), continued by its last row and column.

    Sides become multiples of `multiple` and no less than `smallest`.
    """
    wanted = [max(side, smallest) for side in image.shape[:2]]
    bottom, right = (
        side + -side % multiple - given for side, given in zip(wanted, image.shape[:2], strict=True)
    )
    full = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
    return torch.from_numpy(np.ascontiguousarray(full.transpose(2, 0, 1)))[None]


def to_given_pixels(maps: np.ndarray, size: tuple[int, int]) -> Disparity:
    """The answer at the `size` (H, W) as given, of maps (3, h, w): disparity, occlusion, confidence."""
    H, W = size
    height, width = maps.shape[1:]
    if (height, width) != (H, W):
        maps = np.stack([_enlarged(each, H, W) for each in maps])
    disparity = maps[0] * np.float32(W / width)
    # Rounding, above all that of bfloat16, may lead a hair out of the range.
    return Disparity(
        np.maximum(disparity, 0, dtype=np.float32), maps[1].clip(0, 1), maps[2].clip(0, 1)
    )


def _enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Linear between pixel centres; cv2 counts corners from the corner, as shrinking does."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
