import numpy as np
import pytest
import torch

from data_scripts.homography import translation
from data_scripts.layers import Layer, compose
from tests.data_scripts.pair_checks import colour_error, round_trip_px, smooth_photos

BACKDROP, POSTER = smooth_photos(2)
SQUARE = np.array([[30.0, 30.0], [60.0, 30.0], [60.0, 60.0], [30.0, 60.0]])


def moved_square(size=(100, 120)):
    """A still background and a square that moves 40 px to the right."""
    still = translation(-20, -20)
    square = Layer(POSTER, translation(-10, 0), translation(30, 0), SQUARE)  # at x 20..50, y 30..60
    return compose([Layer(BACKDROP, still, still), square], size)


def test_a_cut_out_moves_by_its_own_homography():
    pair = moved_square()
    assert pair.visible_0to1[45, 35]
    assert pair.warp_0to1[45, 35].tolist() == pytest.approx([75, 45], abs=1e-3)


def test_background_that_the_cut_out_covers_later_is_marked_hidden():
    pair = moved_square()
    assert not pair.visible_0to1[45, 75]  # covered in image 1
    assert not pair.visible_1to0[45, 35]  # covered in image 0
    assert pair.visible_0to1[80, 75]
    assert pair.visible_1to0[80, 35]


def test_the_border_of_a_cover_is_not_called_visible():
    pair = moved_square()
    # the square covers columns 60 to 90 of image 1; its last neighbours are not sure either
    assert not pair.visible_0to1[45, 59:91].any()
    assert pair.visible_0to1[45, 58]
    assert pair.visible_0to1[45, 92]


def test_the_mirrored_surroundings_of_a_photo_are_not_visible():
    shifted = translation(30, 0)  # the photo starts at column 30
    pair = compose([Layer(BACKDROP, shifted, shifted)], (100, 120))
    assert not pair.visible_0to1[:, :30].any()
    assert pair.visible_0to1[:-1, 31:-1].all()


def test_image_1_at_the_warp_looks_like_image_0_and_the_way_back_ends_at_the_start():
    tilt = np.array([[1.1, 0.1, -30], [-0.05, 1.2, -25], [2e-4, 1e-3, 1.0]])
    first = translation(-25, -20)
    pair = compose([Layer(BACKDROP, first, tilt), Layer(POSTER, first, tilt, SQUARE)], (90, 110))
    assert pair.visible_0to1.float().mean() > 0.5
    assert colour_error(pair) < 0.01
    # but for the borders of the visible part, where the nearest pixel counts
    assert round_trip_px(pair).quantile(0.95) < 1e-3


def test_hidden_cells_of_the_warp_hold_zero():
    pair = moved_square()
    assert (pair.warp_0to1[~pair.visible_0to1] == 0).all()
    assert (pair.warp_1to0[~pair.visible_1to0] == 0).all()


def test_a_cut_out_that_leaves_the_image_changes_nothing_there():
    far = Layer(POSTER, translation(0, 0), translation(500, 0), SQUARE)
    still = Layer(BACKDROP, translation(-20, -20), translation(-20, -20))
    alone, with_far = compose([still], (64, 64)), compose([still, far], (64, 64))
    torch.testing.assert_close(with_far.image1, alone.image1)
    assert not with_far.visible_0to1[31:59, 31:59].any()


def test_only_the_first_layer_may_lack_an_outline():
    plane = Layer(BACKDROP, np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="layer 1 needs an outline"):
        compose([plane, plane], (32, 32))
