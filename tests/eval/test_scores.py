import numpy as np
import pytest

from eval.estimators import Estimator
from eval.homography import warp_points
from eval.pairs import HomographyTruth, PoseTruth
from eval.predictions import Prediction
from eval.resized import resize_transform
from eval.scores import PairScore, score_pair, summarise
from tests.eval.scene_points import K0, K1, exact_matches, pose_0to1

MAGSAC = Estimator("magsac", threshold_px=1.0)
SCALE0, SCALE1 = (0.5, 0.5), (0.8, 0.75)


def predicted(kpts0, kpts1, error=""):
    """Matches at the size of the files, as a prediction on shrunk images."""
    kpts0 = warp_points(kpts0, resize_transform(SCALE0))
    kpts1 = warp_points(kpts1, resize_transform(SCALE1))
    confidence = np.ones(len(kpts0))
    return Prediction(kpts0, kpts1, confidence, (300, 400), (300, 400), SCALE0, SCALE1, 0.5, error)


def test_exact_matches_on_shrunk_images_have_no_pose_error():
    T_0to1 = pose_0to1()
    score = score_pair("a", predicted(*exact_matches(T_0to1)), PoseTruth(K0, K1, T_0to1), MAGSAC)
    assert score.error < 0.01
    assert (score.precision, score.matches, score.failure) == (1, 100, "")


def test_exact_matches_on_shrunk_images_have_no_corner_error():
    H_0to1 = np.array([[0.9, -0.1, 30], [0.05, 1.1, -20], [1e-4, -2e-5, 1]])
    kpts0 = np.random.default_rng(0).uniform(0, 500, (60, 2))
    prediction = predicted(kpts0, warp_points(kpts0, H_0to1))
    score = score_pair("a", prediction, HomographyTruth(H_0to1), MAGSAC)
    assert score.error < 0.01
    assert score.precision == 1


@pytest.mark.parametrize("truth", [PoseTruth(K0, K1, pose_0to1()), HomographyTruth(np.eye(3))])
def test_no_matches_are_a_failed_pair_with_a_reason(truth):
    score = score_pair("a", predicted(np.zeros((0, 2)), np.zeros((0, 2))), truth, MAGSAC)
    assert (score.error, score.precision) == (np.inf, 0)
    assert "0 matches" in score.failure


def test_a_failed_match_keeps_its_words():
    prediction = predicted(np.zeros((0, 2)), np.zeros((0, 2)), error="RuntimeError: out of paper")
    score = score_pair("a", prediction, PoseTruth(K0, K1, pose_0to1()), MAGSAC)
    assert score.failure == "RuntimeError: out of paper"


def test_summary_counts_failures_as_infinite_errors():
    scores = [
        PairScore("a", 4.0, 0.5, 10, 1.0),
        PairScore("b", np.inf, 0.0, 0, 3.0, "0 matches"),
    ]
    summary = summarise(scores, (5, 10))
    assert (summary.pairs, summary.failed) == (2, 1)
    # recall goes 0 -> 1/2 at 4, then stays: (1 + 0.5) / 5 and (1 + 3) / 10
    assert summary.auc == pytest.approx({"5": 0.3, "10": 0.4})
    assert (summary.precision, summary.mean_matches, summary.median_seconds) == (0.25, 5, 2)
