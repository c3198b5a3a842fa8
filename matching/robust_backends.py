"""Calls to OpenCV and PoseLib for what most matches agree on; their answers come as they are, unchecked.

Points are (N, 2) float64 in pixels, contiguous; row n of both images is one match. Matrices act from image 0
to image 1, as in `matching.geometry`.
"""

from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np

MatrixKind = Literal["homography", "fundamental"]
# A matrix and the mask of its inliers, which OpenCV gives as None where it finds nothing.
Answer: TypeAlias = tuple[np.ndarray | None, np.ndarray | None]


class NoEstimateError(RuntimeError):
    """Nothing was found that matches agree on; the message says why."""


class Search(Protocol):
    """How a robust estimator is set."""

    @property
    def threshold_px(self) -> float:
        """Inlier threshold in pixels."""

    @property
    def confidence(self) -> float:
        """Chance to have seen a sample without outliers."""

    @property
    def max_iterations(self) -> int:
        """Samples at most."""


def opencv_matrix(
    kind: MatrixKind, points0: np.ndarray, points1: np.ndarray, flag: int, search: Search
) -> Answer:
    """Matrix (3, 3) and mask (N, 1); `flag` is OpenCV's number of the method.

    Raises:
        NoEstimateError: OpenCV refuses the points.
    """
    return _found_by(
        cv2.findHomography if kind == "homography" else cv2.findFundamentalMat,
        points0,
        points1,
        method=flag,
        ransacReprojThreshold=search.threshold_px,
        confidence=search.confidence,
        maxIters=search.max_iterations,
    )


def opencv_essential(
    points0: np.ndarray, points1: np.ndarray, camera: np.ndarray, flag: int, search: Search
) -> Answer:
    """Matrices (3 n, 3), one below the other, and the mask (N, 1) of the first.

    Args:
        points0: of image 0.
        points1: of image 1.
        camera: intrinsics (3, 3) of both images.
        flag: OpenCV's number of the method.
        search: how it is set.

    Raises:
        NoEstimateError: OpenCV refuses the points.
    """
    return _found_by(
        cv2.findEssentialMat,
        points0,
        points1,
        camera,
        method=flag,
        prob=search.confidence,
        threshold=search.threshold_px,
        maxIters=search.max_iterations,
    )


def _found_by(find: Any, *arguments: np.ndarray, **settings: float) -> Answer:
    try:
        matrix, mask = find(*arguments, **settings)
    except cv2.error as error:
        raise NoEstimateError(f"OpenCV: {error.err}") from error
    return matrix, mask


def poselib_matrix(
    kind: MatrixKind, points0: np.ndarray, points1: np.ndarray, search: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (3, 3) and inliers (N,) bool.

    Raises:
        RuntimeError: PoseLib is not installed.
    """
    poselib = _poselib()
    find = poselib.estimate_homography if kind == "homography" else poselib.estimate_fundamental
    matrix, info = find(points0, points1, _options(search), {})
    return np.asarray(matrix, np.float64), np.array(info["inliers"], bool)


def poselib_pose(
    points0: np.ndarray,
    points1: np.ndarray,
    cameras: tuple[np.ndarray, np.ndarray],
    search: Search,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (3, 3) and t (3,) with x1 = R x0 + t, and inliers (N,) bool; `cameras` are both intrinsics (3, 3).

    Raises:
        RuntimeError: PoseLib is not installed.
    """
    models = [_pinhole(K) for K in cameras]
    pose, info = _poselib().estimate_relative_pose(points0, points1, *models, _options(search), {})
    R, t = np.asarray(pose.R, np.float64), np.asarray(pose.t, np.float64)
    return R, t, np.array(info["inliers"], bool)


def _poselib() -> Any:
    try:
        import poselib
    except ImportError as error:
        raise RuntimeError(
            "backend 'poselib' wants PoseLib, which is not installed: pip install quadview[poselib]"
        ) from error
    return poselib


def _options(search: Search) -> dict[str, float]:
    return {
        "max_iterations": search.max_iterations,
        "success_prob": search.confidence,
        "max_reproj_error": search.threshold_px,
        "max_epipolar_error": search.threshold_px,
    }


def _pinhole(K: np.ndarray) -> dict[str, Any]:
    """A pinhole camera as PoseLib wants it; its pixels are ours, so nothing is shifted."""
    focal_x, focal_y, x, y = (float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    width, height = int(2 * x) + 1, int(2 * y) + 1  # PoseLib asks for a size and never uses it here
    params = [focal_x, focal_y, x, y]
    return {"model": "PINHOLE", "width": width, "height": height, "params": params}
