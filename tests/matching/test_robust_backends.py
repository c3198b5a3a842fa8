from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from matching.robust_backends import (
    NoEstimateError,
    opencv_essential,
    opencv_matrix,
    poselib_matrix,
    poselib_pose,
)

SHIFT = np.array([[1.0, 0, 7], [0, 1, -3], [0, 0, 1]])
POINTS = np.random.default_rng(0).uniform(0, 400, (40, 2))
MOVED = POINTS + np.array([7, -3])
CAMERA = np.diag([500.0, 500.0, 1.0])


@dataclass(frozen=True)
class Search:
    threshold_px: float = 1.0
    confidence: float = 0.999
    max_iterations: int = 1000


def test_both_backends_find_a_shift():
    H, mask = opencv_matrix("homography", POINTS, MOVED, cv2.USAC_MAGSAC, Search())
    np.testing.assert_allclose(H / H[2, 2], SHIFT, atol=1e-3)
    assert mask.shape == (40, 1)
    pytest.importorskip("poselib", reason="PoseLib is an extra: pip install quadview[poselib]")
    H, inliers = poselib_matrix("homography", POINTS, MOVED, Search())
    np.testing.assert_allclose(H / H[2, 2], SHIFT, atol=1e-3)
    assert inliers.dtype == bool
    assert inliers.all()


@pytest.mark.parametrize("find", [opencv_matrix, opencv_essential])
def test_points_that_opencv_refuses_are_no_estimate(find):
    first = ("homography",) if find is opencv_matrix else ()
    last = () if find is opencv_matrix else (CAMERA,)
    with pytest.raises(NoEstimateError, match="OpenCV: "):
        find(*first, POINTS[:3], POINTS, *last, cv2.USAC_MAGSAC, Search())


def test_the_pose_of_poselib_is_that_from_camera_0_to_camera_1():
    pytest.importorskip("poselib", reason="PoseLib is an extra: pip install quadview[poselib]")
    space = np.random.default_rng(1).uniform([-2, -2, 4], [2, 2, 9], (60, 3))
    moved = space + np.array([1.0, 0, 0])  # camera 1 stands to the left
    seen = [500 * points[:, :2] / points[:, 2:] for points in (space, moved)]
    R, t, inliers = poselib_pose(*seen, (CAMERA, CAMERA), Search())
    np.testing.assert_allclose(R, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(t / np.linalg.norm(t), (1, 0, 0), atol=1e-5)
    assert inliers.all()
