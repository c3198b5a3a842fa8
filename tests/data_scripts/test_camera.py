import numpy as np
import pytest

from data_scripts.camera import Camera, intrinsics, linear_map, look_at

POSITION, TARGET = np.array([1.0, -2.0, 0.5]), np.array([-1.0, -0.5, 6.0])
CAMERA = Camera(intrinsics(60, (48, 64)), look_at(POSITION, TARGET, roll_deg=20), (48, 64))


def test_a_camera_stands_where_it_was_put_and_sees_its_target_in_the_centre():
    np.testing.assert_allclose(CAMERA.centre, POSITION)
    pixel, depth = CAMERA.project(TARGET)
    np.testing.assert_allclose(pixel, [31.5, 23.5])
    assert depth == pytest.approx(np.linalg.norm(TARGET - POSITION))


def test_rays_undo_projection():
    point = np.array([[0.3, -1.0, 4.0]])
    pixel, depth = CAMERA.project(point)
    np.testing.assert_allclose(CAMERA.centre + depth[:, None] * CAMERA.rays(pixel), point)


def test_down_in_the_world_is_down_in_the_image_without_roll():
    upright = Camera(CAMERA.K, look_at(POSITION, TARGET), (48, 64))
    upper, _ = upright.project(TARGET)
    lower, _ = upright.project(TARGET + np.array([0, 0.5, 0]))
    assert lower[1] > upper[1] + 1
    assert lower[0] == pytest.approx(upper[0])


@pytest.mark.parametrize("target", [[0.0, 5, 0], [0, -5, 0]])
def test_looking_straight_up_or_down_is_a_rotation(target):
    R = look_at(np.zeros(3), np.array(target))[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)


def test_points_behind_the_camera_have_no_pixel():
    pixel, depth = CAMERA.project(POSITION - (TARGET - POSITION))
    assert np.isnan(pixel).all()
    assert depth < 0


def test_the_field_of_view_is_that_of_the_longer_side():
    K = intrinsics(90, (100, 200))  # 200 px across at 90 degrees: focal length 100 px
    np.testing.assert_allclose(K, [[100, 0, 99.5], [0, 100, 49.5], [0, 0, 1]])


def test_a_linear_map_holds_its_value_at_every_pixel_of_the_box():
    values = linear_map(np.array([2.0, 10.0, 5.0]), (3, 1, 5, 4))
    np.testing.assert_allclose(values, [[21, 23], [31, 33], [41, 43]])
