"""Images at the size of a protocol, and ground truth carried over to that size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.given_images import as_rgb8
from data_scripts.image_files import read_image
from data_scripts.shrink import fitted_size, shrink


@dataclass(frozen=True)
class ResizedImage:
    """An image as a matcher gets it."""

    rgb: np.ndarray  # (h, w, 3) uint8
    scale: tuple[float, float]  # w / W, h / H: size here over size of the file


def read_resized(path: Path, long_side: int) -> ResizedImage:
    """The image at `path`, shrunk until its longer side has `long_side` pixels; never enlarged."""
    rgb = as_rgb8(read_image(path), str(path))
    H, W = rgb.shape[:2]
    height, width = fitted_size(H, W, long_side)
    return ResizedImage(shrink(rgb, height, width), (width / W, height / H))


def resize_transform(scale: tuple[float, float]) -> np.ndarray:
    """Matrix (3, 3) from pixels of an image to pixels of its resized copy.

    A resize keeps the corners of the picture, which lie half a pixel outside the centres of the corner
    pixels: x' = (x + 1/2) s - 1/2.
    """
    return np.array(
        [
            [scale[0], 0, (scale[0] - 1) / 2],
            [0, scale[1], (scale[1] - 1) / 2],
            [0, 0, 1],
        ]
    )


def resized_intrinsics(K: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Intrinsics (3, 3) of the resized image."""
    return resize_transform(scale) @ K


def resized_homography(
    H_0to1: np.ndarray, scale0: tuple[float, float], scale1: tuple[float, float]
) -> np.ndarray:
    """Homography (3, 3) between the resized images."""
    return resize_transform(scale1) @ H_0to1 @ np.linalg.inv(resize_transform(scale0))
