import numpy as np
import pytest

from eval.disparity import mean_of_images, occlusion_iou, pooled, score_disparity

ALL = np.ones((1, 4), bool)
TRUTH = np.array([[10, 20, 100, 50]], np.float32)


def test_errors_by_hand():
    # 0, 1.5, 4 and 3.5 px off: 4 px of 100 is 4 %, 3.5 px of 50 is 7 %
    score = score_disparity(TRUTH + np.array([[0, -1.5, 4, 3.5]]), TRUTH, ALL)
    assert score.pixels == 4
    assert score.epe == pytest.approx(9 / 4)
    assert score.bad == (3 / 4, 2 / 4, 2 / 4)
    assert score.d1 == 1 / 4
    assert score.invalid == 0


def test_an_error_at_the_limit_is_not_bad():
    assert score_disparity(TRUTH + np.array([[1, 2, 3, 0]]), TRUTH, ALL).bad == (2 / 4, 1 / 4, 0)


def test_only_pixels_that_count_count_and_the_truth_of_others_may_be_unknown():
    truth = np.array([[10, np.inf, np.nan, 50]], np.float32)
    counts = np.isfinite(truth)
    score = score_disparity(np.array([[11, 999, 999, 51]]), truth, counts)
    assert (score.pixels, score.epe) == (2, 1.0)
    with pytest.raises(ValueError, match="truth must be finite"):
        score_disparity(TRUTH, truth, ALL)


def test_a_pixel_without_prediction_is_bad_but_not_in_the_mean():
    score = score_disparity(np.array([[10, np.nan, np.inf, 52]]), TRUTH, ALL)
    assert score.invalid == 2 / 4
    assert score.bad == (3 / 4, 2 / 4, 2 / 4)
    assert score.d1 == 2 / 4
    assert score.epe == 1.0


def test_the_two_reductions_by_hand():
    # 4 pixels of which 1 px off each, and 1 pixel that is 6 px off
    first = score_disparity(TRUTH + 1, TRUTH, ALL)
    second = score_disparity(TRUTH + 6, TRUTH, np.array([[True, False, False, False]]))
    empty = score_disparity(TRUTH, TRUTH, ~ALL)
    images, pixels = (reduce([first, empty, second]) for reduce in (mean_of_images, pooled))
    assert images.epe == pytest.approx(3.5)
    assert pixels.epe == pytest.approx(10 / 5)
    assert images.bad == pytest.approx((0.5, 0.5, 0.5))
    assert pixels.bad == pytest.approx((0.2, 0.2, 0.2))
    assert images.pixels == pixels.pixels == 5


@pytest.mark.parametrize("invalid", [0, 1, 2, 3])
def test_pooling_images_is_scoring_them_as_one(invalid):
    rng = np.random.default_rng(invalid)
    truth = rng.uniform(1, 90, (3, 8, 9)).astype(np.float32)
    disp = truth + rng.normal(0, 4, truth.shape).astype(np.float32)
    counts = rng.random(truth.shape) < [[[0.9]], [[0.5]], [[0.1]]]
    disp[:, :invalid] = np.nan
    parts = pooled([score_disparity(*each) for each in zip(disp, truth, counts, strict=True)])
    whole = score_disparity(*(each.reshape(24, 9) for each in (disp, truth, counts)))
    assert parts.epe == pytest.approx(whole.epe)
    assert parts.bad == pytest.approx(whole.bad)
    assert (parts.d1, parts.invalid) == pytest.approx((whole.d1, whole.invalid))


def test_nothing_to_score_is_nan_and_no_warning():
    for reduce in (mean_of_images, pooled):
        assert np.isnan(reduce([]).epe)
        assert np.isnan(reduce([score_disparity(TRUTH, TRUTH, ~ALL)]).d1)
    lost = score_disparity(TRUTH * np.nan, TRUTH, ALL)
    assert np.isnan(mean_of_images([lost]).epe)
    assert mean_of_images([lost]).bad == (1, 1, 1)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="must have one size"):
        score_disparity(TRUTH.T, TRUTH, ALL)


def test_overlap_of_occlusion_by_hand():
    said = np.array([[True, True, False, True]])
    is_so = np.array([[True, False, True, True]])
    assert occlusion_iou(said, is_so, ALL) == 2 / 4
    assert occlusion_iou(said, is_so, np.array([[True, True, True, False]])) == 1 / 3
    assert np.isnan(occlusion_iou(~ALL, ~ALL, ALL))
