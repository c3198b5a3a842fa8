"""LO-RANSAC of PoseLib, by which newer tables are made: the pose or homography that matches agree on.

PoseLib is the extra `quadview[poselib]`. Its result is refined on all inliers, so its numbers are not to be
mixed with those of OpenCV's plain RANSAC.
"""

import numpy as np

from eval.estimators import Estimator
from matching.robust_backends import NoEstimateError, poselib_matrix, poselib_pose


def relative_pose(
    kpts0: np.ndarray, kpts1: np.ndarray, K0: np.ndarray, K1: np.ndarray, estimator: Estimator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (3, 3), t (3,) and the inliers (N,) bool of matches (N, 2) in pixels.

    Raises:
        NoEstimateError: PoseLib found no pose.
    """
    points = np.asarray(kpts0, np.float64), np.asarray(kpts1, np.float64)
    R, t, inliers = poselib_pose(*points, (K0, K1), estimator)
    if not inliers.any() or not np.isfinite(t).all() or not t.any():
        raise NoEstimateError("PoseLib: no pose fits")
    return R, t, inliers


def homography(kpts0: np.ndarray, kpts1: np.ndarray, estimator: Estimator) -> np.ndarray:
    """The homography (3, 3) of matches (N, 2) in pixels.

    Raises:
        NoEstimateError: PoseLib found none.
    """
    points = np.asarray(kpts0, np.float64), np.asarray(kpts1, np.float64)
    H, inliers = poselib_matrix("homography", *points, estimator)
    if not inliers.any() or not np.isfinite(H).all():
        raise NoEstimateError("PoseLib: no homography fits")
    return H
