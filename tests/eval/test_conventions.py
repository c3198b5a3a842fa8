import numpy as np
import pytest

from eval.conventions import SCENEFLOW, Convention, count_by, score_convention
from eval.stereo_pairs import StereoTruth

BY_NAME = {each.name: each for each in SCENEFLOW}
# a row of 10 pixels: unknown, 0, four of 8, 191, 192, 399 and 400 px
DISP = np.array([[np.inf, 0, 8, 8, 8, 8, 191, 192, 399, 400]], np.float32)
TRUTH = StereoTruth(DISP, np.array([[0, 0, 1, 1, 0, 0, 0, 0, 0, 0]], bool), occlusion_known=True)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("PSMNet", 6),  # 0, the four, 191
        ("GwcNet", 5),  # without the 0
        ("RAFT-Stereo", 6),
        ("IGEV", 6),
        ("GMStereo", 7),  # the four, 191, 192, 399
        ("STTR", 2),  # what both images show
        ("all known pixels", 9),
    ],
)
def test_which_pixels_count_by_hand(name, pixels):
    assert BY_NAME[name].mask(TRUTH).sum() == pixels


def images(*errors, pixels=10):
    """Images of which every pixel is so far off, the first one with `pixels`, the others with 10."""
    found = []
    for number, error in enumerate(errors):
        truth = np.full((1, 10), 50, np.float32)
        truth[0, (pixels if number == 0 else 10) :] = np.inf
        given = StereoTruth(truth, np.isfinite(truth))
        found.append(count_by(SCENEFLOW, truth + np.float32(error), given))
    return found


def test_means_of_batches_images_and_pixels_differ_as_their_rules_say():
    # 9 images: eight of 1 px in the first batch of PSMNet, one of 4 px alone in the second
    found = images(*(1.0,) * 8, 4.0, pixels=5)
    assert score_convention(BY_NAME["PSMNet"], found).epe == pytest.approx((1 + 4) / 2)
    assert score_convention(BY_NAME["IGEV"], found).epe == pytest.approx((8 + 4) / 9)
    assert score_convention(BY_NAME["IGEV"], found).outliers == pytest.approx(1 / 9)
    # the STTR rate pools pixels: 10 of 85 are more than 3 px off
    assert score_convention(BY_NAME["STTR"], found).outliers == pytest.approx(10 / 85)


def test_an_image_with_too_few_pixels_is_skipped_and_counted():
    truth = np.full((10, 10), 300, np.float32)
    truth[0, :9] = 20  # 9 %
    few = count_by(SCENEFLOW, truth + 1, StereoTruth(truth, truth > 0))
    score = score_convention(BY_NAME["GwcNet"], [*images(2.0), few])
    assert (score.images, score.skipped, score.epe) == (1, 1, 2.0)


def test_raft_stereo_draws_its_400_images():
    found = [images(float(n))[0] for n in range(401)]
    score = score_convention(BY_NAME["RAFT-Stereo"], found)
    # what its seed and its permutation leave out
    left_out = np.random.RandomState(1000).permutation(401)[400]
    assert score.images == 400
    assert score.epe == pytest.approx((sum(range(401)) - left_out) / 400)


def test_nothing_to_count_is_nan():
    score = score_convention(Convention("x", "x", below=0.0), [])
    assert np.isnan(score.epe)
