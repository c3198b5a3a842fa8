"""Matches as OpenCV's cv2.KeyPoint and cv2.DMatch, and back, for code that is written round these."""

from collections.abc import Sequence

import cv2
import numpy as np

from matching.matches import Matches

CELL_SIZE = 8.0  # px, diameter of the neighbourhood that a match stands for


def to_opencv(
    matches: Matches, size_px: float = CELL_SIZE
) -> tuple[list[cv2.KeyPoint], list[cv2.KeyPoint], list[cv2.DMatch]]:
    """Key points of both images and the matches between them: match n joins key points n and n.

    OpenCV puts the centre of the top-left pixel at (0, 0), as we do. A distance is 1 - confidence, so that the
    smallest is the best, as OpenCV's users expect; the response of a key point is its confidence.

    Args:
        matches: of a pair.
        size_px: diameter of every key point.
    """
    sides = tuple(
        [
            cv2.KeyPoint(float(x), float(y), size_px, -1.0, float(sure))
            for (x, y), sure in zip(kpts, matches.confidence, strict=True)
        ]
        for kpts in (matches.kpts0, matches.kpts1)
    )
    joined = [cv2.DMatch(n, n, float(1 - sure)) for n, sure in enumerate(matches.confidence)]
    return sides[0], sides[1], joined


def from_opencv(
    keypoints0: Sequence[cv2.KeyPoint],
    keypoints1: Sequence[cv2.KeyPoint],
    matches: Sequence[cv2.DMatch],
) -> Matches:
    """The points that `matches` join, best (of the smallest distance) first.

    Confidence is 1 - distance where all distances lie in [0, 1], else 1 / (1 + distance): OpenCV's distances
    have no common scale.

    Raises:
        ValueError: a match names a key point that is not there.
    """
    pairs = np.array([(m.queryIdx, m.trainIdx) for m in matches], np.int64).reshape(-1, 2)
    counts = np.array([len(keypoints0), len(keypoints1)])
    if len(pairs) and (pairs.min() < 0 or (pairs.max(0) >= counts).any()):
        raise ValueError(
            f"matches must name key points below {tuple(counts.tolist())}, got {tuple(pairs.max(0).tolist())}"
        )
    distance = np.array([m.distance for m in matches], np.float32)
    order = np.argsort(distance, kind="stable")
    points = [
        np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2)[pairs[order, side]]
        for side, keypoints in enumerate((keypoints0, keypoints1))
    ]
    scaled = bool(len(distance)) and distance.min() >= 0 and distance.max() <= 1
    sure = 1 - distance if scaled else 1 / (1 + distance.clip(0))
    return Matches(points[0], points[1], sure[order].astype(np.float32))
