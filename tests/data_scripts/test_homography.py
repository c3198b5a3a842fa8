import numpy as np
import pytest

from data_scripts import homography
from data_scripts.homography import PlaneView

VIEW = PlaneView(
    look_at=(40.0, 30.0),
    texel_per_px=2.0,
    tilt_deg=40.0,
    tilt_direction_deg=25.0,
    roll_deg=-70.0,
    fov_deg=55.0,
)


def test_the_point_looked_at_lies_in_the_centre():
    H = homography.view_of_plane(VIEW, (48, 64))
    np.testing.assert_allclose(homography.apply(H, np.array([40.0, 30.0])), [31.5, 23.5])


def test_a_frontal_view_shrinks_by_texels_per_px_and_turns_by_the_roll():
    view = PlaneView(look_at=(0.0, 0.0), texel_per_px=2.0, roll_deg=90.0)
    H = homography.view_of_plane(view, (11, 11))
    # 4 texels to the right are 2 px, turned from x to y
    np.testing.assert_allclose(homography.apply(H, np.array([4.0, 0.0])), [5.0, 7.0], atol=1e-12)


def test_a_tilt_shortens_along_its_direction_only():
    H = homography.view_of_plane(VIEW, (48, 64))
    longest, shortest = homography.stretch(H, np.array([40.0, 30.0]))
    assert longest == pytest.approx(0.5)
    assert shortest == pytest.approx(0.5 * np.cos(np.deg2rad(40)))


def test_stretch_agrees_with_differences():
    H = homography.view_of_plane(VIEW, (48, 64))
    point, step = np.array([52.0, 21.0]), 1e-5
    sides = [homography.apply(H, point + sign * step * np.eye(2)) for sign in (1, -1)]
    jacobian = (sides[0] - sides[1]) / (2 * step)
    want = np.linalg.svd(jacobian)[1]
    np.testing.assert_allclose(homography.stretch(H, point), want, rtol=1e-6)


def test_points_behind_the_horizon_are_nan():
    H = np.array([[1.0, 0, 0], [0, 1, 0], [0, -0.1, 1]])  # horizon at y = 10
    points = np.array([[1.0, 5.0], [1.0, 15.0]])
    assert np.isnan(homography.apply(H, points)).tolist() == [[False] * 2, [True] * 2]
    x, y = homography.apply_to_pixels(H, (slice(5, 16, None), slice(1, 2)))
    np.testing.assert_allclose([x[0, 0], y[0, 0]], homography.apply(H, points)[0], rtol=1e-6)
    assert np.isnan(x[10, 0])


def test_inverse_undoes_and_is_positive_in_the_middle():
    H = homography.view_of_plane(VIEW, (48, 64))
    back = homography.inverse(H, (48, 64))
    points = np.array([[3.0, 7.0], [31.5, 23.5]])
    np.testing.assert_allclose(homography.apply(H, homography.apply(back, points)), points)
    assert back[2] @ [31.5, 23.5, 1] == pytest.approx(1)
