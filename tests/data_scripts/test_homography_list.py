import json

import numpy as np
import pytest

from data_scripts import homography
from data_scripts.homography_list import homography_pair, read_all, read_pair, read_pairs
from tests.data_scripts.pair_checks import colour_error, round_trip_px
from tests.shared_data import shared


def test_the_warp_is_the_homography_and_sizes_may_differ():
    H = np.array([[0.9, 0.1, 2], [-0.1, 1.1, 3], [1e-3, 0, 1]])
    first, second = np.zeros((20, 30, 3), np.uint8), np.zeros((40, 25, 3), np.uint8)
    pair = homography_pair(first, second, -2 * H)  # its scale and sign mean nothing
    want = homography.apply(H, np.array([7.0, 11.0]))
    assert pair.visible_0to1[11, 7]
    np.testing.assert_allclose(pair.warp_0to1[11, 7], want, rtol=1e-5)
    assert pair.warp_1to0.shape == (40, 25, 2)
    assert round_trip_px(pair).median() < 1e-3


@pytest.mark.parametrize("long_side", [None, 300])
def test_a_real_pair_agrees_in_colour_at_the_warp(long_side):
    path = shared("data/homography/oxford/pairs.json")
    pair = read_pair(read_pairs(path)[0], long_side)
    still = np.stack(np.meshgrid(*map(np.arange, reversed(pair.visible_0to1.shape))), -1)
    moved = colour_error(pair)
    pair.warp_0to1.copy_(pair.warp_0to1.new_tensor(still))
    assert moved < 0.04
    assert moved < 0.6 * colour_error(pair)


def test_the_wall_of_graffiti_overlaps_its_steep_view():
    (pair,) = read_all(shared("data/homography/opencv_graf/pairs.json"), long_side=320)
    assert pair.visible_share[0] > 0.5
    assert round_trip_px(pair).median() < 0.01


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "wanted a JSON list of image0, image1 and H_0to1, got dict"),
        ([{"image0": "a.png"}], "pair 0 of .* must have image1, H_0to1"),
        ([{"image0": "a", "image1": "b", "H_0to1": [[1, 0], [0, 1]]}], "3 x 3 and invertible"),
        ([{"image0": "a", "image1": "b", "H_0to1": [[0] * 3] * 3}], "3 x 3 and invertible"),
    ],
)
def test_wrong_lists_say_what_is_wrong(tmp_path, entries, message):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message):
        read_pairs(path)
