"""Homography from matches, and how far it moves the corners of the image."""

import numpy as np

from eval import lo_ransac
from eval.estimators import Estimator
from matching.geometry import warp_points
from matching.robust_backends import NoEstimateError, opencv_matrix


def estimate_homography(kpts0: np.ndarray, kpts1: np.ndarray, estimator: Estimator) -> np.ndarray:
    """The homography (3, 3) from image 0 to image 1 that matches (N, 2), (N, 2) agree on, in pixels.

    Raises:
        NoEstimateError: fewer than 4 matches, or no homography.
    """
    if len(kpts0) < 4:
        raise NoEstimateError(f"{len(kpts0)} matches, 4 are needed")
    if estimator.method == "poselib":
        return lo_ransac.homography(kpts0, kpts1, estimator)
    points0, points1 = (np.ascontiguousarray(kpts, dtype=np.float64) for kpts in (kpts0, kpts1))
    H, _ = opencv_matrix("homography", points0, points1, estimator.flag, estimator)
    if H is None or not np.isfinite(H).all():
        raise NoEstimateError("no homography fits")
    return np.asarray(H)


def corner_error_px(H: np.ndarray, H_true: np.ndarray, height: int, width: int) -> float:
    """Mean distance in image 1 of the four corners of image 0 under H and under H_true."""
    right, bottom = width - 1, height - 1
    corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], dtype=np.float64)
    with np.errstate(invalid="ignore"):  # a wrong H may send a corner to infinity
        distances = np.linalg.norm(warp_points(corners, H) - warp_points(corners, H_true), axis=1)
    return float(distances.mean()) if np.isfinite(distances).all() else float("inf")
