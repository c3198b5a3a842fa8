import numpy as np
import pytest

from eval.sgbm import SgbmMatcher, disparity_range


@pytest.mark.parametrize(("width", "want"), [(1, 16), (64, 16), (65, 32), (741, 192), (1242, 320)])
def test_the_range_is_a_quarter_of_the_width_in_steps_of_16(width, want):
    assert disparity_range(width) == want


def test_a_shift_is_found_up_to_the_left_end_of_what_both_show():
    scene = np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)
    found = SgbmMatcher().predict(scene[:, :-10], scene[:, 10:])
    assert found.disparity.shape == (60, 190)
    # The range is 48 px; without the continued image columns 10 to 47 would be guesses.
    assert np.mean(np.abs(found.disparity[:, 14:] - 10) < 0.5) > 0.98
    assert found.occlusion[:, 14:].mean() < 0.05
    assert set(np.unique(found.confidence + found.occlusion)) == {1}


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (7, 5)])
def test_images_of_any_size_have_an_answer(size):
    found = SgbmMatcher().predict(np.zeros(size, np.uint8), np.zeros(size, np.uint8))
    assert found.disparity.shape == size
    assert np.isfinite(found.disparity).all()
