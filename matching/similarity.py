"""By which turn, zoom and shift one image goes over into another, roughly: from points that match.

Rough means within a few degrees and a tenth of the zoom, whatever the depth of the scene: it tells how to hold
one image so that it looks like the other, not where a point lies.
"""

from dataclasses import dataclass

import cv2
import numpy as np

REACH = 0.03  # of the longer side: how far a point may lie from where the similarity sends it
MAX_ITERATIONS = 2000
CONFIDENCE = 0.999
FEWEST = 8  # points that agree; by chance some five of a hundred do
LARGEST_ZOOM = 6.0  # beyond, many points fall on one place and agree for that


@dataclass(frozen=True)
class Similarity:
    """x1 = zoom * R(turn) x0 + shift, in pixels of two images; y points down."""

    matrix: np.ndarray  # (2, 3) float64
    support: int  # points that agree with it

    @property
    def zoom(self) -> float:
        """Size of things in image 1 over their size in image 0."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    @property
    def turn_deg(self) -> float:
        """Turn from image 0 to image 1 in (-180, 180], from the x axis towards the y axis."""
        return float(np.rad2deg(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def back(self) -> "Similarity":
        """From image 1 to image 0."""
        return Similarity(cv2.invertAffineTransform(self.matrix), self.support)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 2) go."""
        return np.asarray(points.astype(np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2])

    def is_near(self, other: "Similarity", turn_deg: float, zoom: float) -> bool:
        """Whether both differ by less than `turn_deg` and by less than a factor `zoom` (over 1)."""
        turn = abs((self.turn_deg - other.turn_deg + 180) % 360 - 180)
        return turn < turn_deg and abs(np.log(self.zoom / other.zoom)) < np.log(zoom)


def turned_whole(shape: tuple[int, int], turn_deg: float) -> tuple[Similarity, tuple[int, int]]:
    """The turn of an image (h, w) by `turn_deg`, moved into the upright frame that just holds it, and the frame."""
    angle = np.deg2rad(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = np.array(shape[::-1])
    frame = np.ceil(np.abs(turn) @ size - 1e-6).astype(int)
    shift = (frame - 1) / 2 - turn @ ((size - 1) / 2)
    return Similarity(np.c_[turn, shift], 0), (int(frame[1]), int(frame[0]))


SAME = Similarity(np.eye(2, 3), 0)


def similarity_of(kpts0: np.ndarray, kpts1: np.ndarray, long_side: int) -> Similarity | None:
    """What most matches agree on; None where too few do.

    Args:
        kpts0: (N, 2) px of image 0.
        kpts1: (N, 2) px of image 1.
        long_side: px of the largest of all four sides; how far is far goes by it.
    """
    if len(kpts0) < FEWEST:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        kpts0.astype(np.float64),
        kpts1.astype(np.float64),
        method=cv2.RANSAC,
        ransacReprojThreshold=REACH * long_side,
        maxIters=MAX_ITERATIONS,
        confidence=CONFIDENCE,
    )
    if matrix is None or inliers is None or not np.isfinite(matrix).all():
        return None
    found = Similarity(matrix, int(np.count_nonzero(inliers)))
    usual = 1 / LARGEST_ZOOM < found.zoom < LARGEST_ZOOM
    return found if usual and found.support >= FEWEST else None
