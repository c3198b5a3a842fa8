import numpy as np
import pytest

from eval.estimators import Estimator
from eval.pairs import HomographyTruth, PoseTruth
from eval.predictions import Prediction
from eval.resized import resize_transform
from eval.scores import PairScore, in_pixels, score_pair, summarise
from matching.geometry import warp_points
from tests.eval.scene_points import K0, K1, exact_matches, pose_0to1

MAGSAC = Estimator("magsac", threshold_px=1.0)
RANSAC = Estimator("ransac", threshold_px=0.5, max_iterations=100)
SCALE0, SCALE1 = (0.5, 0.5), (0.8, 0.75)


def predicted(kpts0, kpts1, error=""):
    """Matches at the size of the files, as a prediction on shrunk images."""
    kpts0 = warp_points(kpts0, resize_transform(SCALE0))
    kpts1 = warp_points(kpts1, resize_transform(SCALE1))
    confidence = np.ones(len(kpts0))
    return Prediction(kpts0, kpts1, confidence, (300, 400), (300, 400), SCALE0, SCALE1, 0.5, error)


def test_exact_matches_on_shrunk_images_have_no_pose_error():
    T_0to1 = pose_0to1()
    given = predicted(*exact_matches(T_0to1))
    (score,) = score_pair("a", given, PoseTruth(K0, K1, T_0to1), [MAGSAC])
    assert score.error < 0.01
    assert (score.correct, score.matches, score.failure) == ((1, 1), 100, "")


def test_exact_matches_on_shrunk_images_have_no_corner_error():
    H_0to1 = np.array([[0.9, -0.1, 30], [0.05, 1.1, -20], [1e-4, -2e-5, 1]])
    kpts0 = np.random.default_rng(0).uniform(0, 500, (60, 2))
    prediction = predicted(kpts0, warp_points(kpts0, H_0to1))
    (score,) = score_pair("a", prediction, HomographyTruth(H_0to1), [MAGSAC])
    assert score.error < 0.01
    assert score.correct == (1,) * 5


@pytest.mark.parametrize("truth", [PoseTruth(K0, K1, pose_0to1()), HomographyTruth(np.eye(3))])
def test_no_matches_are_a_failed_pair_with_a_reason(truth):
    nothing = predicted(np.zeros((0, 2)), np.zeros((0, 2)))
    (score,) = score_pair("a", nothing, truth, [MAGSAC], repeats=3)
    assert score.errors == (np.inf,) * 3
    assert set(score.correct) == {0}
    assert score.failed == 3
    assert "0 matches" in score.failure


def test_a_failed_match_keeps_its_words():
    prediction = predicted(np.zeros((0, 2)), np.zeros((0, 2)), error="RuntimeError: out of paper")
    (score,) = score_pair("a", prediction, PoseTruth(K0, K1, pose_0to1()), [MAGSAC])
    assert score.failure == "RuntimeError: out of paper"


def test_summary_counts_failures_as_infinite_errors():
    scores = [
        PairScore("a", (4.0,), (0.5, 0.2), 10, 1.0),
        PairScore("b", (np.inf,), (0.0, 0.0), 0, 3.0, failure="0 matches"),
    ]
    summary = summarise(scores, (5, 10), "deg")
    assert (summary.pairs, summary.failed) == (2, 1)
    # recall goes 0 -> 1/2 at 4, then stays: (1 + 0.5) / 5 and (1 + 3) / 10
    assert summary.auc == pytest.approx({"5": 0.3, "10": 0.4})
    assert np.isnan(summary.deviation["5"])
    assert summary.correct == {"0.0005": 0.25, "0.0001": 0.1}
    assert (summary.mean_matches, summary.median_seconds) == (5, 2)


def test_repeats_give_a_mean_and_a_deviation_by_hand():
    # one pair, areas at 5 degrees of 4 -> (2 + 1) / 5 and of a failure -> 0
    summary = summarise([PairScore("a", (4.0, np.inf), (1.0, 1.0), 10, 1.0)], (5,), "deg")
    assert (summary.pairs, summary.repeats, summary.failed) == (1, 2, 1)
    assert summary.auc["5"] == pytest.approx(0.3)
    assert summary.deviation["5"] == pytest.approx(0.3 * 2**0.5)  # of 0.6 and 0, by n - 1
    assert summary.auc_pooled["5"] == pytest.approx((1 + 0.5) / 5)


def test_the_first_repeat_keeps_the_order_and_the_others_depend_on_their_seed_alone():
    T_0to1 = pose_0to1()
    kpts0, kpts1 = exact_matches(T_0to1)
    kpts1 = kpts1 + np.random.default_rng(0).normal(0, 1.5, kpts1.shape)
    given, truth = predicted(kpts0, kpts1), PoseTruth(K0, K1, T_0to1)
    (once,) = score_pair("a", given, truth, [RANSAC])
    (three,) = score_pair("a", given, truth, [RANSAC], repeats=3)
    (again,) = score_pair("a", given, truth, [RANSAC], repeats=3)
    assert three.errors == again.errors
    assert three.errors[0] == once.errors[0]
    assert len(set(three.errors)) > 1


def test_thresholds_count_in_the_pixels_of_the_protocol():
    T_0to1 = pose_0to1()
    given, truth = predicted(*exact_matches(T_0to1)), PoseTruth(K0, K1, T_0to1)
    resized, original = (in_pixels(given, truth, pixels) for pixels in ("resized", "original"))
    assert resized.size0 == (300, 400)
    assert original.size0 == (600, 800)
    np.testing.assert_allclose(original.truth.K0, K0)
    np.testing.assert_allclose(original.kpts0, exact_matches(T_0to1)[0], atol=1e-9)
    np.testing.assert_allclose(resized.truth.K0[0, 0], 0.5 * K0[0, 0])


def test_intrinsics_of_another_size_than_the_file_are_used_as_they_are_at_that_size():
    truth = PoseTruth(K0, K1, pose_0to1(), K_size=(300, 400))
    given = predicted(np.zeros((1, 2)), np.zeros((1, 2)))
    np.testing.assert_array_equal(in_pixels(given, truth, "resized").truth.K0, K0)
