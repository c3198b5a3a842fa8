import numpy as np
import pytest

from eval.estimators import Estimator
from eval.homography import corner_error_px, estimate_homography
from matching.geometry import warp_points
from matching.robust_backends import NoEstimateError

MAGSAC = Estimator("magsac", threshold_px=2.0)
H_0to1 = np.array([[0.9, -0.1, 30], [0.05, 1.1, -20], [1e-4, -2e-5, 1]])


def matches(count):
    kpts0 = np.random.default_rng(0).uniform(0, 500, (count, 2))
    return kpts0, warp_points(kpts0, H_0to1)


def test_exact_matches_give_the_exact_homography():
    H = estimate_homography(*matches(80), MAGSAC)
    assert corner_error_px(H, H_0to1, 480, 640) < 1e-3


def test_homography_stands_a_third_of_wrong_matches():
    kpts0, kpts1 = matches(150)
    kpts1[:50] = np.random.default_rng(1).uniform(0, 500, (50, 2))
    assert corner_error_px(estimate_homography(kpts0, kpts1, MAGSAC), H_0to1, 480, 640) < 0.1


def test_too_few_matches_have_no_homography():
    with pytest.raises(NoEstimateError, match="3 matches"):
        estimate_homography(*matches(3), MAGSAC)


def test_corner_error_of_a_shift_is_its_length():
    shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    assert corner_error_px(shift, np.eye(3), 100, 200) == pytest.approx(5)


def test_corner_error_of_a_scale_by_hand():
    # corners of a 4 x 3 image lie at x 0 or 3, y 0 or 2; twice as large they move by 0, 3, 2, sqrt(13)
    want = (0 + 3 + 2 + 13**0.5) / 4
    assert corner_error_px(np.diag([2.0, 2, 1]), np.eye(3), height=3, width=4) == pytest.approx(
        want
    )


def test_a_corner_sent_to_infinity_is_an_infinite_error():
    H = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 199, 0, 1]])  # x = 199, the right edge
    assert corner_error_px(H, np.eye(3), 100, 200) == np.inf
