from dataclasses import replace

import numpy as np
import pytest

from data_scripts.disparity_layers import (
    MAX_RELIEF_SLOPE,
    DisparityLayer,
    Highlight,
    compose_stereo,
    gentle,
)
from tests.data_scripts.pair_checks import smooth_photos
from tests.data_scripts.stereo_checks import (
    both_ways,
    colour_error,
    disparity_mismatch,
    hidden_colour_error,
)

BACK, FRONT = smooth_photos(2, (120, 200), sigma=5.0)
SIZE = (60, 90)
WHOLE = (0, 0, 130, 60)
UNMOVED = np.eye(3)[:2]


def background(plane=(0.0, 0.0, 4.0), relief=None):
    return DisparityLayer(BACK, UNMOVED, plane, WHOLE, relief=relief)


def board(plane=(0.0, 0.0, 12.0)):
    return DisparityLayer(FRONT, UNMOVED, plane, (40, 10, 70, 50), np.ones((40, 30), np.float32))


def test_a_board_before_a_wall_by_hand():
    pair = compose_stereo([background(), board()], SIZE)
    assert pair.disp[30, 39].item() == 4
    assert pair.disp[30, 40].item() == 12
    # right: the board lies in columns 28 to 57; the wall behind it shows left columns 32 to 61
    assert pair.disp_right[30, 28].item() == pytest.approx(12)
    assert pair.disp_right[30, 58].item() == pytest.approx(4)
    hidden = [x for x in range(90) if pair.occluded[30, x]]
    assert hidden == [0, 1, 2, 3, *range(32, 40)]
    hidden = [x for x in range(90) if pair.occluded_right[30, x]]
    assert hidden == [*range(58, 66), *range(86, 90)]


@pytest.mark.parametrize("plane", [(0.3, 0.0, 2.0), (-0.2, 0.1, 20.0), (0.01, -0.05, 9.0)])
def test_slanted_planes_agree_between_the_eyes(plane):
    for pair in both_ways(compose_stereo([background(plane)], SIZE)):
        assert disparity_mismatch(pair).max() < 1e-3
        assert colour_error(pair) < 0.02


def test_reliefs_agree_between_the_eyes_to_a_twentieth_of_a_pixel():
    x, y = np.meshgrid(np.arange(130), np.arange(60))
    hills = (3 * np.sin(x / 9) * np.cos(y / 11)).astype(np.float32)
    relief = gentle(hills)
    assert np.abs(np.diff(relief, axis=1)).max() <= MAX_RELIEF_SLOPE * 1.001
    for pair in both_ways(compose_stereo([background((0.1, 0.0, 6.0), relief)], SIZE)):
        # the right labels are compared after linear interpolation of a curve
        assert disparity_mismatch(pair).max() < 0.05


def test_planes_that_cross_are_sorted_pixel_by_pixel():
    pair = compose_stereo([background((0.0, 0.0, 10.0)), board((0.4, 0.0, -12.0))], SIZE)
    # the board lies before the wall where 0.4 x - 12 > 10, from column 56 on
    assert pair.disp[30, 50].item() == 10
    assert pair.disp[30, 60].item() == pytest.approx(12)


def test_hidden_pixels_look_different_in_the_other_eye():
    pair = compose_stereo([background(), board()], SIZE)
    assert hidden_colour_error(pair) > 3 * colour_error(pair)


def test_a_highlight_moves_with_its_own_disparity():
    light = Highlight((60.0, 30.0), radius_px=3.0, strength=120.0, disp=9.0)
    plain, lit = (
        compose_stereo([replace(background(), highlight=spot)], SIZE) for spot in (None, light)
    )
    gain = (lit.left - plain.left).sum(0), (lit.right - plain.right).sum(0)
    assert [int(one[30].argmax()) for one in gain] == pytest.approx([60, 51], abs=1)
    assert gain[0][30, 60] > 0.5


def test_layers_that_leave_holes_are_refused():
    with pytest.raises(ValueError, match="must fill both images"):
        compose_stereo([replace(background(), box=(0, 0, 90, 60))], SIZE)


def test_steep_planes_and_wrong_covers_are_refused():
    with pytest.raises(ValueError, match=r"at most 0\.5 along x, got 0\.9"):
        background((0.9, 0.0, 0.0))
    with pytest.raises(ValueError, match="cover must be of its box"):
        replace(board(), cover=np.ones((3, 3), np.float32))
