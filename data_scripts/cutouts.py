"""Outlines of cut-outs, random flat shapes, and their antialiased masks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts.homography import turn

CURVE_POINTS = 40
MASK_OVERSAMPLING = 4
SHIFT = 4  # fractional bits of the coordinates that cv2.fillPoly takes


def random_outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """A closed outline (P, 2) about the origin, within the circle of radius 1, aspect up to 2.5."""
    kind = rng.choice(["polygon", "ellipse", "rectangle", "blob"])
    if kind == "polygon":
        count = int(rng.integers(3, 9))
        steps = rng.uniform(0.3, 1, count).cumsum()
        angle = 2 * np.pi * steps / steps[-1]
        radius = rng.uniform(0.45, 1, count)
    elif kind == "rectangle":
        angle = np.pi * np.array([0.25, 0.75, 1.25, 1.75])
        radius = np.ones(4)
    else:
        angle = np.linspace(0, 2 * np.pi, CURVE_POINTS, endpoint=False)
        waves = rng.uniform(0, 0.12, 3) if kind == "blob" else np.zeros(3)
        phase = rng.uniform(0, 2 * np.pi, 3)
        bumps = sum(w * np.cos((n + 2) * angle + phase[n]) for n, w in enumerate(waves))
        radius = (1 + bumps) / (1 + waves.sum())
    outline = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None]
    outline[:, 1] *= rng.uniform(0.4, 1)
    return np.asarray(outline @ turn(rng.uniform(0, 360)).T)


def bounding_box(
    outline: NDArray[np.float64], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Columns and rows (left, top, right, bottom), ends excluded, that the outline may touch.

    None where it lies outside an image of `size` (H, W).
    """
    left, top = np.floor(outline.min(0)).astype(int) - 1
    right, bottom = np.ceil(outline.max(0)).astype(int) + 2
    left, top = max(0, left), max(0, top)
    right, bottom = min(size[1], right), min(size[0], bottom)
    if left >= right or top >= bottom:
        return None
    return int(left), int(top), int(right), int(bottom)


def mask(outline: NDArray[np.float64], box: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Share of each pixel of `box` that the outline covers: (bottom - top, right - left) in [0, 1]."""
    left, top, right, bottom = box
    many = MASK_OVERSAMPLING
    fine = np.zeros(((bottom - top) * many, (right - left) * many), np.uint8)
    # pixel x covers the samples many * x to many * x + many - 1
    corner = (outline - (left, top) + 0.5) * many - 0.5
    points = np.round(corner * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, shift=SHIFT)
    coarse = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse / np.float32(255), np.float32)
