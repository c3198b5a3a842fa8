import contextlib

import numpy as np
import pytest

from eval.estimators import Estimator
from eval.pose import (
    epipolar_errors,
    epipolar_precision,
    estimate_pose,
    pose_error_deg,
    rotation_error_deg,
    threshold_focal,
    translation_error_deg,
)
from matching.robust_backends import NoEstimateError
from tests.eval.scene_points import K0, K1, exact_matches, pose_0to1, turn_y
from tests.shared_data import shared

MAGSAC = Estimator("magsac", threshold_px=1.0)
RANSAC = Estimator("ransac", threshold_px=0.5, max_iterations=1000, focal="loftr")


def test_rotation_error_is_the_angle_between():
    assert rotation_error_deg(turn_y(30), turn_y(10)) == pytest.approx(20)


@pytest.mark.parametrize(
    ("t", "want"), [([0, 0, 2], 0), ([0, 0, -1], 0), ([1, 0, 1], 45), ([3, 0, 0], 90)]
)
def test_translation_error_knows_neither_length_nor_sign(t, want):
    got = translation_error_deg(np.array(t, float), np.array([0, 0, 1.0]))
    assert got == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("estimator", [MAGSAC, RANSAC], ids=str)
def test_exact_matches_give_the_exact_pose(estimator):
    T_0to1 = pose_0to1()
    pose = estimate_pose(*exact_matches(T_0to1), K0, K1, estimator)
    assert pose_error_deg(pose, T_0to1) < 0.01


@pytest.mark.parametrize("estimator", [MAGSAC, RANSAC], ids=str)
def test_pose_stands_a_third_of_wrong_matches(estimator):
    T_0to1 = pose_0to1()
    kpts0, kpts1 = exact_matches(T_0to1, 150)
    kpts1[:50] = np.random.default_rng(1).uniform(0, 600, (50, 2))
    pose = estimate_pose(kpts0, kpts1, K0, K1, estimator)
    assert pose_error_deg(pose, T_0to1) < 0.5
    assert pose.inliers[50:].mean() > 0.95


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_matches_have_no_pose(count):
    kpts0, kpts1 = exact_matches(pose_0to1(), 10)
    with pytest.raises(NoEstimateError, match=f"{count} matches"):
        estimate_pose(kpts0[:count], kpts1[:count], K0, K1, MAGSAC)


@pytest.mark.parametrize("estimator", [MAGSAC, RANSAC], ids=str)
def test_one_point_many_times_gives_no_pose_or_one_that_is_finite(estimator):
    kpts = np.full((20, 2), 100.0)
    with contextlib.suppress(NoEstimateError):  # anything else fails the test
        assert np.isfinite(estimate_pose(kpts, kpts, K0, K1, estimator).R).all()


def test_threshold_focal_follows_its_rule():
    assert threshold_focal(K0, K1, "loftr") == (700 + 480) / 2  # fx of image 0, fy of image 1
    assert threshold_focal(K0, K1, "mean4") == (700 + 720 + 500 + 480) / 4


def test_exact_matches_lie_on_their_epipolar_lines():
    T_0to1 = pose_0to1()
    errors = epipolar_errors(*exact_matches(T_0to1), K0, K1, T_0to1)
    assert errors.max() < 1e-20


def test_precision_of_no_matches_is_zero():
    assert epipolar_precision(np.zeros(0)) == 0


def test_epipolar_errors_equal_the_official_implementations():
    with np.load(shared("reference/metrics_two_view_stereo.npz")) as file:
        case = {
            key.removeprefix("two_view/"): file[key] for key in file if key.startswith("two_view")
        }
    arguments = (case["pts0"], case["pts1"], case["K0"], case["K1"], case["T_0to1"])
    errors = epipolar_errors(*arguments)
    np.testing.assert_allclose(errors, case["epi_errs"], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(errors, case["epi_errs_superglue"], rtol=1e-6, atol=1e-12)
    for threshold in (5e-4, 1e-4):
        assert epipolar_precision(errors, threshold) == case[f"precision/{threshold}"]


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_pose_errors_equal_the_official_implementation(threshold):
    with np.load(shared("reference/metrics_two_view_stereo.npz")) as file:
        case = {
            key.removeprefix("two_view/"): file[key] for key in file if key.startswith("two_view")
        }
    estimator = Estimator("ransac", threshold, max_iterations=1000, focal="loftr")
    pose = estimate_pose(case["pts0"], case["pts1"], case["K0"], case["K1"], estimator)
    T_0to1 = case["T_0to1"]
    got = [
        translation_error_deg(pose.t, T_0to1[:3, 3]),
        rotation_error_deg(pose.R, T_0to1[:3, :3]),
    ]
    np.testing.assert_allclose(got, case[f"pose/{threshold}/errors_t_R_deg"], atol=1e-6)
