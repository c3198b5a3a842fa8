"""Images at the size of a protocol, and ground truth carried over to that size."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from eval.image_source import ImageSource, read_rgb

FILTERS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


@dataclass(frozen=True)
class Sizing:
    """The size at which the images of a benchmark are matched.

    Args:
        rule: "long side" and "short side" shrink until that side has `size` pixels, "exact" resizes to
            (height, width) whatever the aspect, "as given" leaves the image alone.
        size: pixels of that side, or (height, width).
        multiple: each side is then rounded down to a multiple of it, as LoFTR does for MegaDepth.
        enlarge: whether a smaller image is enlarged.
        filter: "area" cannot alias; "linear" is OpenCV's default, which LoFTR and SuperGlue use.
    """

    rule: Literal["long side", "short side", "exact", "as given"] = "long side"
    size: int | tuple[int, int] = 800
    multiple: int = 1
    enlarge: bool = False
    filter: Literal["area", "linear"] = "area"

    def __post_init__(self) -> None:
        exact = isinstance(self.size, tuple)
        if exact != (self.rule == "exact"):
            raise ValueError(f"size must be (height, width) for exact alone, got {self.size}")
        if self.filter not in FILTERS:
            raise ValueError(f"filter must be one of {tuple(FILTERS)}, got {self.filter!r}")

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width is resized to."""
        if isinstance(self.size, tuple):
            return self.size
        side = {"long side": max, "short side": min, "as given": None}[self.rule]
        scale = 1.0 if side is None else self.size / side(height, width)
        if scale > 1 and not self.enlarge:
            scale = 1.0
        sides = (max(1, round(height * scale)), max(1, round(width * scale)))
        h, w = (max(self.multiple, each // self.multiple * self.multiple) for each in sides)
        return h, w

    def __str__(self) -> str:
        if isinstance(self.size, tuple):
            text = f"images resized to {self.size[1]} x {self.size[0]}"
        elif self.rule == "as given":
            text = "images at their own size"
        else:
            verb = "resized" if self.enlarge else "shrunk"
            text = f"images {verb} to {self.rule} {self.size}"
        if self.multiple > 1:
            text += f", sides rounded down to multiples of {self.multiple}"
        return text if self.rule == "as given" else f"{text} ({self.filter} filter)"


@dataclass(frozen=True)
class ResizedImage:
    """An image as a matcher gets it."""

    rgb: np.ndarray  # (h, w, 3) uint8
    scale: tuple[float, float]  # w / W, h / H: size here over size of the file


def read_resized(source: ImageSource, sizing: Sizing) -> ResizedImage:
    """The image at `source` in the size that `sizing` wants."""
    rgb = read_rgb(source)
    H, W = rgb.shape[:2]
    height, width = sizing.of(H, W)
    if (height, width) == (H, W):
        return ResizedImage(rgb, (1.0, 1.0))
    # Averaging over areas means nothing where there are fewer pixels than wanted.
    shrinks = height <= H and width <= W
    kind = FILTERS[sizing.filter] if shrinks else cv2.INTER_LINEAR
    return ResizedImage(
        cv2.resize(rgb, (width, height), interpolation=kind), (width / W, height / H)
    )


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
