from dataclasses import replace

import numpy as np
import pytest

from data_scripts import mipmap
from data_scripts.camera import Camera, intrinsics, look_at
from data_scripts.lights import Lights
from data_scripts.raycast import NOTHING, Rectangles, cast, cast_coarse, paint
from data_scripts.surfaces import Material, box, random_heights, rectangle
from tests.data_scripts.pair_checks import smooth_photos

LEVELS = mipmap.pyramid(smooth_photos(1)[0])
MATERIAL = Material(LEVELS, texel_per_m=40, gloss=0.0)
EVEN_LIGHT = Lights(np.zeros((0, 3)), np.zeros(0), reach_m=1.0, ambient=1.0)
# faces the viewer at z = 4: u to the left, v down, so u x v points to smaller z
WALL = rectangle(np.array([3.0, -3, 4]), np.array([-6.0, 0, 0]), np.array([0.0, 6, 0]), MATERIAL)
FLOOR = rectangle(np.array([-3.0, 1, 0]), np.array([6.0, 0, 0]), np.array([0.0, 0, 6]), MATERIAL)


def camera(position=(0.0, 0, 0), target=(0.0, 0, 4), size=(60, 80)):
    pose = look_at(np.array(position), np.array(target))
    return Camera(intrinsics(60, size), pose, size)


def grid(size):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x, y], -1).reshape(-1, 2).astype(float)


def test_a_wall_straight_ahead_has_one_depth():
    depth = cast([WALL], camera()).depth
    np.testing.assert_allclose(depth, 4, rtol=1e-6)


def test_every_pixel_agrees_with_a_single_ray():
    cube = box(np.array([0.4, 0.4, 2.5]), np.eye(3), np.array([0.5, 0.4, 0.3]), [MATERIAL])
    surfaces = [WALL, FLOOR, *cube]
    view = camera((-0.8, -0.3, 0.2), (0.3, 0.2, 3))
    depth = cast(surfaces, view).depth
    want = cast_coarse(Rectangles.of(surfaces), view, grid(view.size)).reshape(view.size)
    want[np.isinf(want)] = 0
    same = np.abs(depth - want) <= 1e-3 * want
    # outlines are filled to the border of the pixels they touch, single rays go by the centre
    assert same.mean() > 0.97
    assert len(np.unique(cast(surfaces, view).number)) >= 4


def test_outlines_that_reach_far_out_of_the_image_keep_their_edges():
    # cut off just before the camera, the corner of this floor lies 27000 pixels to the right
    floor = replace(FLOOR, origin=np.array([-0.5, 1, -1.0]), extent=(2.5, 7.0))
    view = camera(size=(480, 768))
    hit = cast([floor], view).number.ravel() >= 0
    want = np.isfinite(cast_coarse(Rectangles.of([floor]), view, grid(view.size)))
    assert 0.1 < want.mean() < 0.9
    assert (hit == want).mean() > 0.995


def test_the_nearer_surface_hides_the_other_whatever_the_order():
    near = replace(WALL, origin=np.array([0.5, -0.5, 2]), extent=(1.0, 1.0))
    for surfaces in ([WALL, near], [near, WALL]):
        depth = cast(surfaces, camera()).depth
        assert depth[30, 40] == pytest.approx(2)
        assert depth[5, 5] == pytest.approx(4)


def test_where_no_ray_hits_the_depth_is_zero_and_the_sky_is_painted():
    view, sky = camera(), np.full((60, 80, 3), 77, np.uint8)
    hits = cast([FLOOR], view)
    image = paint([FLOOR], view, EVEN_LIGHT, hits, sky)
    assert (hits.depth[:30] == 0).all()
    assert (hits.number[:30] == NOTHING).all()
    assert (image[:28] == 77).all()
    assert (hits.depth[-1] > 0).all()


def test_surfaces_that_reach_behind_the_camera_are_cut():
    floor = replace(FLOOR, origin=np.array([-3.0, 1, -3]))
    depth = cast([floor], camera()).depth
    # the lowest row looks down at slope (59 - 29.5) / focal: depth = 1 m * focal / 29.5 px
    focal = 40 / np.tan(np.deg2rad(30))
    np.testing.assert_allclose(depth[-1], focal / 29.5, rtol=1e-5)


def test_boxes_are_closed_with_their_fronts_outwards():
    faces = box(np.zeros(3), np.eye(3), np.array([1.0, 2, 3]), [MATERIAL])
    for face in faces:
        assert face.corners.mean(0) @ face.normal > 0
        np.testing.assert_allclose(np.abs(face.corners), np.tile([1, 2, 3], (4, 1)))


def test_a_relief_of_height_zero_is_its_rectangle():
    flat = replace(WALL, heights=np.zeros((16, 16), np.float32))
    view = camera((0.5, 0.2, 0), (0, 0, 4))
    np.testing.assert_allclose(cast([flat], view).depth, cast([WALL], view).depth, rtol=1e-5)


def test_a_relief_is_hit_where_its_height_says():
    heights = random_heights(np.random.default_rng(0), height_m=0.5)
    hills = replace(WALL, heights=heights)
    view = camera((0.5, 0.2, 0), (0, 0, 4))
    depth = cast([hills], view).depth.reshape(-1)
    points = view.centre + depth[:, None] * view.rays(grid(view.size))
    rise = (points - WALL.origin) @ WALL.normal
    a, b = (points - WALL.origin) @ WALL.u, (points - WALL.origin) @ WALL.v
    column, row = a / 6 * (heights.shape[1] - 1), b / 6 * (heights.shape[0] - 1)
    left, top = column.astype(int), row.astype(int)
    x, y = column - left, row - top
    upper = heights[top, left] * (1 - x) + heights[top, left + 1] * x
    lower = heights[top + 1, left] * (1 - x) + heights[top + 1, left + 1] * x
    assert np.ptp(rise) > 0.3
    assert np.quantile(np.abs(rise - upper * (1 - y) - lower * y), 0.99) < 2e-3


def test_a_lamp_lights_what_faces_it_and_highlights_move_with_the_eye():
    glossy = replace(WALL, gloss=0.5)
    lamp = Lights(np.array([[0.0, 0, 1]]), np.ones(1), reach_m=4.0, ambient=0.1)
    sky = np.zeros((60, 80, 3), np.uint8)
    brightest = []
    for x in (-1.0, 1.0):
        view = camera((x, 0, 0), (x, 0, 4))
        hits = cast([glossy], view)
        shine = paint([glossy], view, lamp, hits, sky).astype(int)
        dull = paint([WALL], view, lamp, hits, sky).astype(int)
        column = (shine - dull).sum((0, 2)).argmax()
        brightest.append(x + (column - 39.5) / view.K[0, 0] * 4)  # metres on the wall
    assert brightest[0] < -0.1
    assert brightest[1] > 0.1
