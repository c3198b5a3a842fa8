"""What the matches of a pair agree on: homography, fundamental or essential matrix, relative pose.

One call, `estimate`, over OpenCV's USAC_MAGSAC (Barath et al., CVPR 2020) and PoseLib's LO-RANSAC. A pair that
gives nothing is no exception: the result says why in `failure`. Points are in pixels of the images as given,
the centre of the top-left pixel at (0, 0), and results hold in the same pixels.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from matching.robust_backends import (
    NoEstimateError,
    opencv_essential,
    opencv_matrix,
    poselib_matrix,
    poselib_pose,
)

Kind = Literal["homography", "fundamental", "essential"]
Backend = Literal["opencv", "poselib"]
FEWEST = {"homography": 4, "fundamental": 7, "essential": 5}  # matches that determine the model
FAR = 1e9  # no point is too far away for the test that points lie before both cameras


@dataclass(frozen=True)
class RobustSettings:
    """How a robust estimator is set.

    Args:
        backend: "opencv", or "poselib" (extra `quadview[poselib]`).
        threshold_px: Inlier threshold in pixels: of the transfer error for a homography, of the epipolar
            error else.
        confidence: Chance to have seen a sample without outliers.
        max_iterations: Samples at most.
    """

    backend: Backend = "opencv"
    threshold_px: float = 1.0
    confidence: float = 0.99999
    max_iterations: int = 10_000

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {self.backend!r}")
        if not 0 < self.threshold_px < float("inf"):
            raise ValueError(f"threshold_px must be positive and finite, got {self.threshold_px}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {self.confidence}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be 1 or more, got {self.max_iterations}")


@dataclass(frozen=True)
class Geometry:
    """A matrix that relates both images, or why there is none."""

    kind: Kind
    # (3, 3) float64, None if it failed. Homography: x1 ~ H x0 in pixels, H[2, 2] = 1. Fundamental: x1^T F x0 = 0
    # in pixels. Essential: the same for points at depth 1, K^-1 x. F and E have Frobenius norm 1.
    matrix: np.ndarray | None
    inliers: np.ndarray  # (N,) bool, all False if it failed
    failure: str | None = None  # one line

    def __bool__(self) -> bool:
        return self.matrix is not None


@dataclass(frozen=True)
class Pose:
    """Pose of camera 1 seen from camera 0, x1 = R x0 + t, the length of t unknown; or why there is none."""

    R: np.ndarray | None  # (3, 3) rotation
    t: np.ndarray | None  # (3,) of length 1
    inliers: np.ndarray  # (N,) bool: agree with the pose and lie before both cameras
    failure: str | None = None  # one line

    def __bool__(self) -> bool:
        return self.R is not None


def estimate(
    kind: Kind,
    kpts0: np.ndarray,
    kpts1: np.ndarray,
    K0: np.ndarray | None = None,
    K1: np.ndarray | None = None,
    settings: RobustSettings | None = None,
) -> Geometry:
    """The matrix of the given kind that most matches agree on; equal calls give equal answers.

    Examples:
        >>> found = estimate("homography", matches.kpts0, matches.kpts1)  # doctest: +SKIP
        >>> if not found: print(found.failure)  # doctest: +SKIP

    Args:
        kind: "homography", "fundamental" or "essential".
        kpts0: (N, 2) x, y in pixels of image 0; best first helps no backend, the order is not used.
        kpts1: (N, 2) the same for image 1.
        K0: (3, 3) intrinsics of image 0 without skew; needed for "essential" only.
        K1: (3, 3) of image 1.
        settings: of the estimator.

    Raises:
        ValueError: an argument of a wrong shape or value, or intrinsics that are missing.
        TypeError: complex points.
        RuntimeError: the backend is not installed.
    """
    if kind not in FEWEST:
        raise ValueError(f"kind must be one of {tuple(FEWEST)}, got {kind!r}")
    settings = settings or RobustSettings()
    points0, points1 = _checked_points(kpts0, kpts1)
    cameras = None
    if kind == "essential":
        cameras = _checked_camera(K0, "K0"), _checked_camera(K1, "K1")
    if len(points0) < FEWEST[kind]:
        return _failed(kind, points0, f"{len(points0)} matches, {FEWEST[kind]} are needed")
    by_backend = _by_poselib if settings.backend == "poselib" else _by_opencv
    try:
        return by_backend(kind, points0, points1, cameras, settings)
    except NoEstimateError as error:
        return _failed(kind, points0, str(error))


def estimate_pose(
    kpts0: np.ndarray,
    kpts1: np.ndarray,
    K0: np.ndarray,
    K1: np.ndarray,
    settings: RobustSettings | None = None,
) -> Pose:
    """The relative pose that most matches agree on; arguments and errors as `estimate`.

    Of the four poses of the essential matrix the one with most points before both cameras (Hartley and
    Zisserman 2004, sec. 9.6.3). The baseline's length cannot be known from matches.
    """
    found = estimate("essential", kpts0, kpts1, K0, K1, settings)
    if found.matrix is None:
        return Pose(None, None, found.inliers, found.failure)
    rays0, rays1 = normalised(kpts0, K0), normalised(kpts1, K1)
    mask = found.inliers.astype(np.uint8)[:, None]
    count, R, t, inside, *_ = cv2.recoverPose(
        found.matrix, rays0, rays1, np.eye(3), FAR, mask=mask.copy()
    )
    if not count:
        return Pose(None, None, np.zeros(len(rays0), bool), "no point lies before both cameras")
    return Pose(R, t[:, 0], inside.ravel() > 0)


def normalised(kpts: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) -> coordinates (N, 2) on the plane at depth 1. K has no skew."""
    K = np.asarray(K, dtype=np.float64)
    return np.ascontiguousarray((np.float64(kpts) - K[[0, 1], [2, 2]]) / K[[0, 1], [0, 1]])


def fundamental_from_essential(E: np.ndarray, K0: np.ndarray, K1: np.ndarray) -> np.ndarray:
    """F = K1^-T E K0^-1 (3, 3) of Frobenius norm 1."""
    F = np.linalg.inv(K1).T @ E @ np.linalg.inv(K0)
    return np.asarray(F / np.linalg.norm(F))


def warp_points(points: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Points (N, 2) moved by H (3, 3); infinite or NaN where H sends a point to infinity."""
    moved = np.column_stack([points, np.ones(len(points))]) @ H.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(moved[:, :2] / moved[:, 2:])


def cross_matrix(t: np.ndarray) -> np.ndarray:
    """[t]x (3, 3), with [t]x v = t x v."""
    x, y, z = t
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def as_of_one_camera(kpts: np.ndarray, K: np.ndarray, focal_px: float) -> np.ndarray:
    """Pixels (N, 2) of the camera K -> pixels of one without offset and of that focal length.

    OpenCV's USAC_MAGSAC loses a good part of its accuracy on normalised coordinates, so points stay in pixels.
    """
    return np.ascontiguousarray(normalised(kpts, K) * focal_px)


def _by_opencv(
    kind: Kind,
    points0: np.ndarray,
    points1: np.ndarray,
    cameras: tuple[np.ndarray, np.ndarray] | None,
    settings: RobustSettings,
) -> Geometry:
    """By USAC_MAGSAC, which draws the same samples in every call."""
    flag = cv2.USAC_MAGSAC
    if kind != "essential":
        return _result(kind, *opencv_matrix(kind, points0, points1, flag, settings), points0)
    assert cameras is not None
    focal_px = float(np.mean([K[i, i] for K in cameras for i in (0, 1)]))
    brought = [
        as_of_one_camera(*each, focal_px) for each in zip((points0, points1), cameras, strict=True)
    ]
    camera = np.diag([focal_px, focal_px, 1.0])
    matrices, mask = opencv_essential(brought[0], brought[1], camera, flag, settings)
    return _result(kind, None if matrices is None else matrices[:3], mask, points0)


def _by_poselib(
    kind: Kind,
    points0: np.ndarray,
    points1: np.ndarray,
    cameras: tuple[np.ndarray, np.ndarray] | None,
    settings: RobustSettings,
) -> Geometry:
    if kind != "essential":
        return _result(kind, *poselib_matrix(kind, points0, points1, settings), points0)
    assert cameras is not None
    R, t, inliers = poselib_pose(points0, points1, cameras, settings)
    return _result(kind, cross_matrix(t) @ R, inliers, points0)


def _result(
    kind: Kind, matrix: np.ndarray | None, mask: np.ndarray | None, points0: np.ndarray
) -> Geometry:
    """A checked answer of a backend."""
    if matrix is None or mask is None or not np.isfinite(matrix).all():
        return _failed(kind, points0, f"no {kind} fits the {len(points0)} matches")
    inliers = np.asarray(mask).ravel() > 0
    scale = matrix[2, 2] if kind == "homography" else np.linalg.norm(matrix)
    if inliers.sum() < FEWEST[kind] or abs(scale) < np.finfo(np.float64).tiny:
        return _failed(kind, points0, f"only {inliers.sum()} of {len(points0)} matches agree")
    return Geometry(kind, np.asarray(matrix, np.float64) / scale, inliers)


def _failed(kind: Kind, points0: np.ndarray, failure: str) -> Geometry:
    return Geometry(kind, None, np.zeros(len(points0), bool), failure)


def _checked_points(kpts0: np.ndarray, kpts1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.iscomplexobj(kpts0) or np.iscomplexobj(kpts1):
        raise TypeError("kpts0 and kpts1 must be real, x and y in pixels, got complex numbers")
    points = [np.ascontiguousarray(kpts, dtype=np.float64) for kpts in (kpts0, kpts1)]
    for name, each in zip(("kpts0", "kpts1"), points, strict=True):
        if each.ndim != 2 or each.shape[1] != 2:
            raise ValueError(f"{name} must be (N, 2) x, y in pixels, got {each.shape}")
        if not np.isfinite(each).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity; drop those matches")
    if len(points[0]) != len(points[1]):
        raise ValueError(
            f"kpts0 and kpts1 must have one row per match, got {len(points[0])} and {len(points[1])}"
        )
    return points[0], points[1]


def _checked_camera(K: np.ndarray | None, name: str) -> np.ndarray:
    K = np.asarray(np.nan if K is None else K, dtype=np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all() or not (K[0, 0] > 0 and K[1, 1] > 0):
        got = K.shape if K.shape != (3, 3) else "wrong values"
        raise ValueError(
            f"{name} must be (3, 3) intrinsics with positive focal lengths in pixels, got "
            f"{'none' if K.shape == () else got}; an essential matrix wants both cameras"
        )
    if not np.allclose(K[2], (0, 0, 1)):
        raise ValueError(f"{name} must have the last row 0 0 1, got {K[2]}; it may be transposed")
    return K
