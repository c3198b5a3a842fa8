"""Relative pose from matches, and how wrong it is."""

from dataclasses import dataclass

import cv2
import numpy as np

from eval import lo_ransac
from eval.estimators import Estimator, Focal
from matching.geometry import FAR, as_of_one_camera, cross_matrix, normalised
from matching.robust_backends import NoEstimateError, opencv_essential


@dataclass(frozen=True)
class RelativePose:
    """Pose of camera 1 seen from camera 0, x1 = R x0 + t, with the length of t unknown."""

    R: np.ndarray  # (3, 3)
    t: np.ndarray  # (3,) of length 1
    inliers: np.ndarray  # (N,) bool


def threshold_focal(K0: np.ndarray, K1: np.ndarray, rule: Focal) -> float:
    """The focal length in pixels that relates a threshold in pixels to normalised coordinates."""
    if rule == "loftr":
        return float((K0[0, 0] + K1[1, 1]) / 2)
    return float((K0[0, 0] + K0[1, 1] + K1[0, 0] + K1[1, 1]) / 4)


def estimate_pose(
    kpts0: np.ndarray, kpts1: np.ndarray, K0: np.ndarray, K1: np.ndarray, estimator: Estimator
) -> RelativePose:
    """The pose that matches kpts0 (N, 2) and kpts1 (N, 2), in pixels, agree on.

    Essential matrix, then of all its poses the one with most points before both cameras, as in LoFTR's
    and SuperGlue's evaluation. Both images are first brought to one camera without offset, whose focal
    length is that of the threshold; RANSAC gives the same as on normalised coordinates.

    Raises:
        NoEstimateError: fewer than 5 matches, or no essential matrix.
    """
    if len(kpts0) < 5:
        raise NoEstimateError(f"{len(kpts0)} matches, 5 are needed")
    if estimator.method == "poselib":
        R, t, inliers = lo_ransac.relative_pose(kpts0, kpts1, K0, K1, estimator)
        return RelativePose(R, t / np.linalg.norm(t), inliers)
    focal = threshold_focal(K0, K1, estimator.focal)
    camera = np.diag([focal, focal, 1.0])
    points0, points1 = as_of_one_camera(kpts0, K0, focal), as_of_one_camera(kpts1, K1, focal)
    matrices, mask = opencv_essential(points0, points1, camera, estimator.flag, estimator)
    if matrices is None or mask is None:
        raise NoEstimateError("no essential matrix fits")
    return _best_pose(matrices, mask, points0, points1, camera)


def _best_pose(
    matrices: np.ndarray,
    mask: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera: np.ndarray,
) -> RelativePose:
    """OpenCV may return several essential matrices (3 n, 3); keeps the pose with most inliers."""
    best: RelativePose | None = None
    most = 0
    for E in matrices.reshape(-1, 3, 3):
        count, R, t, inside, *_ = cv2.recoverPose(
            E, points0, points1, camera, FAR, mask=mask.copy()
        )
        if count > most:
            most, best = count, RelativePose(R, t[:, 0], inside.ravel() > 0)
    if best is None:
        raise NoEstimateError("no point lies before both cameras")
    return best


def rotation_error_deg(R: np.ndarray, R_true: np.ndarray) -> float:
    """Angle of the rotation between R and R_true (3, 3), in [0, 180]."""
    cosine = (np.trace(R.T @ R_true) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def translation_error_deg(t: np.ndarray, t_true: np.ndarray) -> float:
    """Angle between the lines along t and t_true (3,), in [0, 90]: the sign is not counted."""
    cosine = t @ t_true / (np.linalg.norm(t) * np.linalg.norm(t_true))
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return float(min(angle, 180 - angle))


def pose_error_deg(pose: RelativePose, T_0to1: np.ndarray) -> float:
    """The larger of the errors of rotation and direction of translation, in degrees."""
    return max(
        rotation_error_deg(pose.R, T_0to1[:3, :3]), translation_error_deg(pose.t, T_0to1[:3, 3])
    )


def essential_from_pose(T_0to1: np.ndarray) -> np.ndarray:
    """E = [t]x R (3, 3), with x1^T E x0 = 0 for matching normalised points."""
    return np.asarray(cross_matrix(T_0to1[:3, 3]) @ T_0to1[:3, :3])


def epipolar_errors(
    kpts0: np.ndarray, kpts1: np.ndarray, K0: np.ndarray, K1: np.ndarray, T_0to1: np.ndarray
) -> np.ndarray:
    """Symmetric squared epipolar distance (N,) in normalised coordinates, as in SuperGlue and LoFTR."""
    E = essential_from_pose(T_0to1)
    points0, points1 = (
        np.column_stack([normalised(kpts, K), np.ones(len(kpts))])
        for kpts, K in ((kpts0, K0), (kpts1, K1))
    )
    lines1, lines0 = points0 @ E.T, points1 @ E
    residual = (points1 * lines1).sum(1)
    return residual**2 * sum(1 / (line[:, :2] ** 2).sum(1) for line in (lines0, lines1))


def epipolar_precision(errors: np.ndarray, threshold: float = 5e-4) -> float:
    """Share of matches whose `epipolar_errors` (N,) lie below the threshold; 0 where there are none."""
    return float((errors < threshold).mean()) if len(errors) else 0.0
