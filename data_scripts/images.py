"""Reading images from files the user gave, and what resizing does to pixel coordinates."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Array = NDArray[np.float64]
FloatMap = NDArray[np.float32]

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601, as OpenCV)


def read_rgb(path: Path) -> Image:
    """The image at `path`, (H, W, 3) uint8 RGB."""
    data = np.fromfile(path, np.uint8)
    if not data.size:
        raise ValueError(f"{path} must be an image, got an empty file; copy or download it again")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:  # refused for its size, among others
        raise ValueError(f"{path} must be a readable image, got {error.err}") from error
    if image is None:
        raise ValueError(
            f"{path} must be an image that OpenCV reads, got {data.size} bytes that are none; "
            "it may be truncated: copy or download it again"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_depth(path: Path, unit_m: float = 0.001) -> NDArray[np.float32]:
    """The depth map in a 16-bit file of one channel, (H, W) metres; 0 where unknown."""
    data = np.fromfile(path, np.uint8)
    depth = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if depth is None or depth.ndim != 2:
        found = "no image" if depth is None else f"an image of shape {depth.shape}"
        raise ValueError(f"{path} must be a depth map of one channel, got {found}")
    return depth.astype(np.float32) * np.float32(unit_m)


def resized(image: Image, size: tuple[int, int]) -> Image:
    """`image` (H, W, 3) at `size` (H, W): area averaged when it shrinks, else bilinear."""
    H, W = image.shape[:2]
    if size == (H, W):
        return image
    how = cv2.INTER_AREA if size[0] <= H and size[1] <= W else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=how), np.uint8)


def resize_map(size: tuple[int, int], new_size: tuple[int, int]) -> Array:
    """(3, 3) map of pixel x, y from an image of `size` to its resized version, both (H, W).

    Areas keep their place, so centres move: x -> (x + 0.5) * scale - 0.5. It also maps K.
    """
    y, x = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])


def fit_long_side(size: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """`size` (H, W) scaled to a longer side of `long_side`; as it is for None."""
    if long_side is None:
        return size
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def to_tensor(image: Image) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float().div_(255)
