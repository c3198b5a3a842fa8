"""Images made smaller, never larger, for a network that works at a limited size."""

import cv2
import numpy as np


def fitted_size(height: int, width: int, long_side: int | None) -> tuple[int, int]:
    """Height and width after shrinking the longer side to `long_side`; never larger, never below 1."""
    if long_side is None or max(height, width) <= long_side:
        return height, width
    scale = long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` (H, W) or (H, W, C) averaged over areas, which cannot alias, to (height, width)."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
