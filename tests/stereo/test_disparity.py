import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stereo.disparity import (
    border_occlusion,
    disparity_to_depth,
    left_right_consistency,
    occlusion_from_disparities,
)

UNKNOWN = np.float32(np.inf)
# A square at disparity 2, two pixels wide, before a background at 1, in a row of eight pixels.
LEFT = np.array([[1, 1, 1, 1, 2, 2, 1, 1]], np.float32)
RIGHT = np.array([[1, 1, 2, 2, 1, 1, 1, 1]], np.float32)


def test_occlusion_by_hand():
    # Left 0 leaves the image. Left 3 falls on right 2, which shows the square. Right 7 leaves it.
    # Right 4 falls on left 5, on the square: hidden behind it, as left 3 is.
    left, right = occlusion_from_disparities(LEFT, RIGHT, tolerance_px=0.5)
    assert np.flatnonzero(left[0]).tolist() == [0, 3]
    assert np.flatnonzero(right[0]).tolist() == [4, 7]


def test_tolerance_forgives_differences_up_to_it():
    left, right = occlusion_from_disparities(LEFT, RIGHT, tolerance_px=1)
    assert np.flatnonzero(left[0]).tolist() == [0]
    assert np.flatnonzero(right[0]).tolist() == [7]


def test_consistency_is_infinite_outside_and_nan_where_nothing_is_known():
    left, right = LEFT.copy(), RIGHT.copy()
    left[0, 6], right[0, 6] = UNKNOWN, np.nan
    got = left_right_consistency(left, right)
    nan = np.nan
    np.testing.assert_array_equal(got, [[np.inf, 0, 0, 1, 0, 0, nan, nan]])


def test_occlusion_is_its_own_mirror():
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(0, 9, (11, 23)).astype(np.float32) for _ in range(2))
    ahead = occlusion_from_disparities(left, right)
    back = occlusion_from_disparities(right[:, ::-1], left[:, ::-1])
    np.testing.assert_array_equal(ahead[0], back[1][:, ::-1])
    np.testing.assert_array_equal(ahead[1], back[0][:, ::-1])


def test_only_pixels_whose_match_leaves_the_image_are_border_occlusion():
    left = np.array([[0, 0.5, 2, 3.1, UNKNOWN, np.nan, -1]], np.float32)
    assert border_occlusion(left).tolist() == [[False, False, False, True, False, False, False]]


MAPS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@given(MAPS)
def test_any_map_has_masks_of_its_size_and_no_occlusion_where_unknown(disp):
    for mask in (*occlusion_from_disparities(disp, disp), border_occlusion(disp)):
        assert mask.shape == disp.shape
        assert mask.dtype == np.bool_
        assert not mask[~np.isfinite(disp)].any()


def test_maps_of_any_layout_are_read_right():
    # Numba compiles per layout: strided and double maps must give the same.
    want = occlusion_from_disparities(LEFT, RIGHT, 0.5)[0]
    wide = np.repeat(LEFT.astype(np.float64), 3, axis=0)[::2]
    got = occlusion_from_disparities(wide, np.asfortranarray(np.repeat(RIGHT, 2, axis=0)), 0.5)[0]
    np.testing.assert_array_equal(got, np.repeat(want, 2, axis=0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: left_right_consistency(LEFT, RIGHT[:, 1:]), "must have the same size"),
        (lambda: border_occlusion(LEFT[0]), r"left must be a disparity map \(H, W\), got \(8,\)"),
        (lambda: occlusion_from_disparities(LEFT, RIGHT, -1), "tolerance_px must be 0 or more"),
        (lambda: occlusion_from_disparities(LEFT, RIGHT, np.nan), "tolerance_px must be 0 or more"),
        (lambda: disparity_to_depth(LEFT, 0, 1), "focal_px must be positive"),
        (lambda: disparity_to_depth(LEFT, 1, np.inf), "baseline_m must be positive"),
        (lambda: disparity_to_depth(LEFT, 1, 1, np.nan), "doffs_px must be finite"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_depth_of_middleburys_motorcycle_by_hand():
    # calib.txt: f = 994.978, doffs = 31.086, baseline 193.001 mm; a pixel of disparity 30 lies at
    # 994.978 * 0.193001 / 61.086 = 3.14363 m
    depth = disparity_to_depth(np.array([[30.0]]), 994.978, 0.193001, 31.086)
    assert depth[0, 0] == pytest.approx(3.14363, abs=1e-5)
    assert depth.dtype == np.float32


def test_there_is_no_depth_where_disparity_is_unknown_or_not_in_front():
    disp = np.array([[0, -1, np.inf, -np.inf, np.nan, 1e-45]])
    assert np.isinf(disparity_to_depth(disp, 100, 1)).all()
