"""SIFT (Lowe 2004) of OpenCV with its default settings: key points, and mutual matches that pass the ratio test."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

RATIO = 0.8  # a descriptor's nearest must be so much nearer than the next (Lowe 2004, sec. 7.1)


@dataclass(frozen=True)
class Keypoints:
    """Key points of one image; row n of both fields is one."""

    kpts: np.ndarray  # (N, 2) float32 px, centre of the top-left pixel (0, 0)
    desc: np.ndarray  # (N, 128) float32


def keypoints_of(
    grey: np.ndarray, mask: np.ndarray | None = None, *, precise: bool = False
) -> Keypoints:
    """Key points of grey (H, W) uint8, none where the mask (H, W) bool is False.

    OpenCV's default places them a quarter of a pixel too far to the right and down; `precise` does not.
    """
    allowed: Any = None if mask is None else mask.astype(np.uint8)
    points, desc = cv2.SIFT.create(enable_precise_upscale=precise).detectAndCompute(grey, allowed)
    kpts = np.array([point.pt for point in points], dtype=np.float32).reshape(-1, 2)
    return Keypoints(kpts, np.zeros((0, 128), np.float32) if desc is None else np.asarray(desc))


def mutual_matches(
    side0: Keypoints, side1: Keypoints, ratio: float = RATIO
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of side0 and of side1 that match, (N,) each, and their ratios (N,) ascending.

    A match is the nearest from both sides, and below `ratio` times as far as the second nearest.
    """
    if min(len(side0.kpts), len(side1.kpts)) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    best0, ratio0 = _nearest(side0.desc, side1.desc)
    best1, _ = _nearest(side1.desc, side0.desc)
    index0 = np.arange(len(side0.kpts))
    keep = np.flatnonzero((best1[best0] == index0) & (ratio0 < ratio))
    keep = keep[np.argsort(ratio0[keep], kind="stable")]
    return keep, best0[keep], ratio0[keep]


def _nearest(desc0: np.ndarray, desc1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of desc0: the nearest row of desc1, and its distance over the second nearest's."""
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(desc0, desc1, k=2)
    index = np.array([first.trainIdx for first, _ in found])
    ratio = np.array([first.distance / max(second.distance, 1e-12) for first, second in found])
    return index, ratio
