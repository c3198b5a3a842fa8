import kornia
import numpy as np
import pytest
import torch

from eval.disparity import count_disparity, mean_of_images, pooled, score_disparity
from eval.occlusion import count_occlusion
from tests.shared_data import shared

ALL = np.ones((1, 4), bool)
TRUTH = np.array([[10, 20, 100, 50]], np.float32)


def test_errors_by_hand():
    # 0, 1.5, 4 and 3.5 px off: 4 px of 100 is 4 %, 3.5 px of 50 is 7 %
    score = score_disparity(TRUTH + np.array([[0, -1.5, 4, 3.5]]), TRUTH, ALL)
    assert score.pixels == 4
    assert score.epe == pytest.approx(9 / 4)
    assert score.bad == (3 / 4, 3 / 4, 2 / 4, 2 / 4, 0)  # above 0.5, 1, 2, 3 and 4 px
    assert score.above(2.0) == 2 / 4
    assert score.d1 == 1 / 4
    assert score.invalid == 0


def test_an_error_at_the_limit_is_not_bad():
    assert score_disparity(TRUTH + np.array([[1, 2, 3, 0]]), TRUTH, ALL).bad == (
        3 / 4,
        2 / 4,
        1 / 4,
        0,
        0,
    )


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
    assert score.bad == (3 / 4, 3 / 4, 2 / 4, 2 / 4, 2 / 4)
    assert score.d1 == 2 / 4
    assert score.epe == 1.0


def test_the_two_reductions_by_hand():
    # 4 pixels of which 1 px off each, and 1 pixel that is 6 px off
    first = count_disparity(TRUTH + 1, TRUTH, ALL)
    second = count_disparity(TRUTH + 6, TRUTH, np.array([[True, False, False, False]]))
    empty = count_disparity(TRUTH, TRUTH, ~ALL)
    images, pixels = (reduce([first, empty, second]) for reduce in (mean_of_images, pooled))
    assert images.epe == pytest.approx(3.5)
    assert pixels.epe == pytest.approx(10 / 5)
    assert images.bad == pytest.approx((1, 0.5, 0.5, 0.5, 0.5))
    assert pixels.bad == pytest.approx((1, 0.2, 0.2, 0.2, 0.2))
    assert images.pixels == pixels.pixels == 5


@pytest.mark.parametrize("invalid", [0, 1, 2, 3])
def test_pooling_images_is_scoring_them_as_one(invalid):
    rng = np.random.default_rng(invalid)
    truth = rng.uniform(1, 90, (3, 8, 9)).astype(np.float32)
    disp = truth + rng.normal(0, 4, truth.shape).astype(np.float32)
    counts = rng.random(truth.shape) < [[[0.9]], [[0.5]], [[0.1]]]
    disp[:, :invalid] = np.nan
    parts = pooled([count_disparity(*each) for each in zip(disp, truth, counts, strict=True)])
    whole = score_disparity(*(each.reshape(24, 9) for each in (disp, truth, counts)))
    assert parts.epe == pytest.approx(whole.epe)
    assert parts.bad == pytest.approx(whole.bad)
    assert (parts.d1, parts.invalid) == pytest.approx((whole.d1, whole.invalid))


def test_nothing_to_score_is_nan_and_no_warning():
    for reduce in (mean_of_images, pooled):
        assert np.isnan(reduce([]).epe)
        assert np.isnan(reduce([count_disparity(TRUTH, TRUTH, ~ALL)]).d1)
    lost = count_disparity(TRUTH * np.nan, TRUTH, ALL)
    assert np.isnan(mean_of_images([lost]).epe)
    assert mean_of_images([lost]).bad == (1, 1, 1, 1, 1)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="must have one size"):
        score_disparity(TRUTH.T, TRUTH, ALL)


def test_the_order_and_grouping_of_images_change_nothing():
    rng = np.random.default_rng(0)
    images = [
        count_disparity(TRUTH + rng.normal(0, 3, TRUTH.shape) * 10.0**n, TRUTH, ALL)
        for n in range(-8, 8)
    ]
    assert pooled(images) == pooled(images[::-1])
    assert mean_of_images(images).epe == mean_of_images(images[::-1]).epe


def test_the_mean_of_images_by_weight():
    images = [count_disparity(TRUTH + off, TRUTH, ALL) for off in (1, 4)]
    assert mean_of_images(images, [1, 0.5]).epe == pytest.approx((1 + 0.5 * 4) / 1.5)


# error px, truth px -> outlier of KITTI: above 3 px and above 5 % of the truth
@pytest.mark.parametrize(
    ("error", "truth", "outlier"),
    [
        (3, 10, 0),
        (3.5, 10, 1),
        (3.5, 70, 0),
        (3.5, 69, 1),
        (2.9, 10, 0),
        (5, 100, 0),
        (5.5, 100, 1),
    ],
)
def test_d1_truth_table(error, truth, outlier):
    truth = np.full((1, 1), float(truth))
    for sign in (-1, 1):
        assert score_disparity(truth + sign * error, truth, truth > 0).d1 == outlier


def test_figures_equal_those_of_the_official_evaluations():
    with np.load(shared("reference/metrics_two_view_stereo.npz")) as file:
        case = {key.split("/", 1)[1]: file[key] for key in file if key.startswith("stereo")}
    truth, pred, hidden = case["gt"][0], case["pred"][0], case["occ"][0]
    below = (truth > 0) & (truth < 192)
    score = score_disparity(pred, truth, below)
    assert score.epe == pytest.approx(case["std192/epe"], abs=1e-6)
    assert score.d1 == pytest.approx(case["std192/d1"], abs=1e-7)
    assert score.above(1.0) == pytest.approx(case["std192/px1"], abs=1e-7)
    assert score.above(3.0) == pytest.approx(case["std192/px3"], abs=1e-7)
    seen = (truth > 0) & ~hidden
    counts = count_disparity(pred, truth, seen)
    assert counts.bad[3] == case["sttr/error_px"]
    assert counts.pixels == case["sttr/total_px"]
    assert counts.score().epe == pytest.approx(case["sttr/epe"], abs=1e-6)
    found = count_occlusion(case["occ_pred"][0] > 0.5, hidden, seen | hidden)
    assert found.two_class_iou == pytest.approx(case["sttr/iou"], abs=1e-7)


def test_the_mean_error_is_that_of_kornia():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 60, (1, 1, 5, 7))
    disp = truth + rng.normal(0, 2, truth.shape)
    # its end-point error takes flows of two components: the second one is 0 here
    flows = [torch.from_numpy(np.concatenate([each, 0 * each], 1)) for each in (disp, truth)]
    want = kornia.metrics.aepe(flows[0].permute(0, 2, 3, 1), flows[1].permute(0, 2, 3, 1))
    got = score_disparity(disp[0, 0], truth[0, 0], truth[0, 0] > 0)
    assert got.epe == pytest.approx(float(want))
