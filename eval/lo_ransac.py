"""LO-RANSAC of PoseLib, by which newer tables are made: the pose or homography that matches agree on.

PoseLib is the extra `quadview[poselib]`. Its result is refined on all inliers, so its numbers are not to be
mixed with those of OpenCV's plain RANSAC.
"""

from typing import Any

import numpy as np

from eval.estimators import Estimator, NoEstimateError


def relative_pose(
    kpts0: np.ndarray, kpts1: np.ndarray, K0: np.ndarray, K1: np.ndarray, estimator: Estimator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (3, 3), t (3,) and the inliers (N,) bool of matches (N, 2) in pixels.

    Raises:
        NoEstimateError: PoseLib found no pose.
    """
    pose, info = _poselib().estimate_relative_pose(
        np.asarray(kpts0, np.float64),
        np.asarray(kpts1, np.float64),
        _camera(K0),
        _camera(K1),
        {"max_epipolar_error": estimator.threshold_px, **_options(estimator)},
    )
    inliers = np.asarray(info["inliers"], bool)
    t = np.asarray(pose.t, np.float64)
    if not inliers.any() or not np.isfinite(t).all() or not t.any():
        raise NoEstimateError("PoseLib: no pose fits")
    return np.asarray(pose.R, np.float64), t, inliers


def homography(kpts0: np.ndarray, kpts1: np.ndarray, estimator: Estimator) -> np.ndarray:
    """The homography (3, 3) of matches (N, 2) in pixels.

    Raises:
        NoEstimateError: PoseLib found none.
    """
    H, info = _poselib().estimate_homography(
        np.asarray(kpts0, np.float64),
        np.asarray(kpts1, np.float64),
        {"max_reproj_error": estimator.threshold_px, **_options(estimator)},
    )
    if not any(info["inliers"]) or not np.isfinite(H).all():
        raise NoEstimateError("PoseLib: no homography fits")
    return np.asarray(H)


def _poselib() -> Any:
    import poselib  # optional, and heavy to import for those who do not use it

    return poselib


def _options(estimator: Estimator) -> dict[str, Any]:
    return {"success_prob": estimator.confidence, "max_iterations": estimator.max_iterations}


def _camera(K: np.ndarray) -> dict[str, Any]:
    focals_and_centre = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    # PoseLib reads width and height nowhere on this way; they are part of the form.
    width, height = (int(2 * centre) + 1 for centre in (K[0, 2], K[1, 2]))
    return {"model": "PINHOLE", "width": width, "height": height, "params": focals_and_centre}
