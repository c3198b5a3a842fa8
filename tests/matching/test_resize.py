import numpy as np
import pytest

from matching.options import QUARTER_TURNS
from matching.resize import (
    prepare,
    to_given_pixels,
    to_network_pixels,
    turned_and_padded,
    turned_size,
    usable,
)


def test_shrinking_averages_areas():
    grey = np.array([[0, 1, 0, 0], [1, 0, 0, 1]], np.float32)
    np.testing.assert_allclose(prepare(grey, None, 2).grey, [[0.5, 0.25]])


def test_the_middle_of_a_shrunk_pixel_is_the_middle_of_the_pixels_it_came_from():
    # Pixel 1 of 4 x 2 shrunk by 2 covers columns 2 and 3 and rows 0 and 1 of the image as given.
    image = prepare(np.zeros((2, 4), np.float32), None, 2)
    np.testing.assert_array_equal(to_given_pixels(np.array([[1.0, 0.0]]), image), [[2.5, 0.5]])


@pytest.mark.parametrize("turn", QUARTER_TURNS)
@pytest.mark.parametrize("mask", [False, True])
def test_a_bright_pixel_is_found_again_after_turning_and_padding(turn, mask):
    grey = np.zeros((5, 7), np.float32)
    grey[1, 5] = 1
    image = prepare(grey, grey > -1 if mask else None, None)
    seen, real = turned_and_padded(image, turn, 8)
    assert (*seen.shape, real is not None) == turned_size(image, turn, 8)
    assert real.sum() == 35
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    np.testing.assert_array_equal(to_given_pixels(np.array([[column, row]]), image, turn), [[5, 1]])


def test_network_pixels_and_given_pixels_undo_each_other():
    image = prepare(np.zeros((683, 1024), np.float32), None, 800)
    points = np.array([[0.0, 0.0], [1023.0, 682.0], [17.25, 400.5]])
    there = to_network_pixels(points, image)
    np.testing.assert_allclose(to_given_pixels(there, image), points, atol=1e-9)


def test_what_lies_under_a_mask_has_no_influence():
    rng = np.random.default_rng(0)
    mask = rng.random((31, 45)) > 0.3
    first, second = (rng.random((31, 45), dtype=np.float32) for _ in range(2))
    second[mask] = first[mask]
    np.testing.assert_array_equal(prepare(first, mask, 20).grey, prepare(second, mask, 20).grey)


def test_a_point_is_usable_when_all_pixels_round_it_are():
    mask = np.ones((3, 4), bool)
    mask[1, 2] = False
    image = prepare(np.zeros((3, 4), np.float32), mask, None)
    points = [[0, 0], [3, 2], [1, 1], [1.1, 1], [2, 1], [2, 1.9], [-0.1, 0], [3.1, 0], [np.nan, 0]]
    want = [True, True, True, False, False, False, False, False, False]
    np.testing.assert_array_equal(usable(np.array(points), image), want)
