import numpy as np
import pytest

from eval.estimators import Estimator
from eval.homography import corner_error_px, estimate_homography
from eval.pose import estimate_pose, pose_error_deg
from matching.geometry import warp_points
from matching.robust_backends import NoEstimateError
from tests.eval.scene_points import K0, K1, exact_matches, pose_0to1

pytest.importorskip("poselib", reason="PoseLib is an extra: pip install 'quadview[poselib]'")
LO = Estimator("poselib", threshold_px=2.0, confidence=0.9999, max_iterations=2000)


def test_exact_matches_give_the_exact_pose_with_each_camera_its_own_focal_length():
    pose = estimate_pose(*exact_matches(pose_0to1()), K0, K1, LO)
    assert pose_error_deg(pose, pose_0to1()) < 1e-3
    assert pose.inliers.all()
    assert np.linalg.norm(pose.t) == pytest.approx(1)


def test_pose_stands_a_third_of_wrong_matches():
    kpts0, kpts1 = exact_matches(pose_0to1(), 150)
    kpts1[:50] = np.random.default_rng(1).uniform(0, 600, (50, 2))
    pose = estimate_pose(kpts0, kpts1, K0, K1, LO)
    assert pose_error_deg(pose, pose_0to1()) < 0.1
    assert pose.inliers[50:].all()


def test_homography_of_exact_matches_is_exact():
    H_0to1 = np.array([[0.9, -0.1, 30], [0.05, 1.1, -20], [1e-4, -2e-5, 1]])
    kpts0 = np.random.default_rng(0).uniform(0, 500, (60, 2))
    H = estimate_homography(kpts0, warp_points(kpts0, H_0to1), LO)
    assert corner_error_px(H, H_0to1, 400, 500) < 1e-3


def test_matches_that_nothing_fits_are_a_failure_or_finite():
    kpts = np.full((20, 2), 100.0)
    try:
        pose = estimate_pose(kpts, kpts, K0, K1, LO)
    except NoEstimateError:
        return
    assert np.isfinite(pose.R).all()


def test_an_estimator_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("eval.estimators.find_spec", lambda _name: None)
    assert "pip install 'quadview[poselib]'" in LO.missing
    assert Estimator("magsac", 1.0).missing == ""
