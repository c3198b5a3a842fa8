import pytest
import torch

from data_scripts.rectified import RectifiedPair
from data_scripts.rectified_crop import random_window, shrunk_pair


def ramp_pair(height=20, width=40, both=True):
    """Images whose red is the column; disparity 3 everywhere."""
    column = torch.arange(width, dtype=torch.float32).expand(3, height, width) / width
    disp = torch.full((height, width), 3.0)
    known = torch.ones(height, width, dtype=torch.bool)
    left_out = torch.arange(width).expand(height, width) - disp < 0
    right_out = torch.arange(width).expand(height, width) + disp > width - 1
    right = (disp, known, right_out) if both else (None, None, None)
    return RectifiedPair(column, column + 3 / width, disp, known, left_out, *right)


def test_a_window_keeps_its_columns_and_hides_what_left_it(generator):
    for _ in range(5):
        cut = random_window(ramp_pair(), (8, 16), generator)
        step = (cut.left[0, 0, 1:] - cut.left[0, 0, :-1]) * 40
        torch.testing.assert_close(step, torch.ones(15), rtol=0, atol=1e-4)
        torch.testing.assert_close(cut.right, cut.left + 3 / 40)
        assert cut.occluded[:, :3].all()
        assert not cut.occluded[:, 3:].any()
        assert cut.occluded_right[:, 13:].all()
        assert not cut.occluded_right[:, :13].any()


def test_a_small_pair_is_padded_with_what_is_not_known(generator):
    cut = random_window(ramp_pair(4, 6), (8, 16), generator)
    assert cut.left.shape == (3, 8, 16)
    assert cut.known[:4, :6].all()
    assert not cut.known[4:].any()
    assert not cut.known[:, 6:].any()
    assert not cut.occluded[:, 6:].any()
    # what the right image shows beyond its own edge is out of it, whatever the window's width
    assert cut.occluded_right[:4, 3:6].all()


def test_a_pair_without_right_labels_stays_without(generator):
    cut = random_window(ramp_pair(both=False), (8, 16), generator)
    assert not cut.both_sides


def test_shrinking_shrinks_disparities_with_the_width():
    small = shrunk_pair(ramp_pair(), 20)
    assert small.left.shape == (3, 10, 20)
    torch.testing.assert_close(small.disp, torch.full((10, 20), 1.5))
    assert small.known.dtype == torch.bool
    torch.testing.assert_close(small.left[0, 0], (torch.arange(20) * 2 + 0.5) / 40)


@pytest.mark.parametrize("long_side", [40, 100])
def test_a_pair_that_is_small_enough_stays(long_side):
    pair = ramp_pair()
    assert shrunk_pair(pair, long_side) is pair
