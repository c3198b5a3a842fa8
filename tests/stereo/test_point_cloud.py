import numpy as np
import pytest

from stereo.disparity import Disparity
from stereo.point_cloud import Calibration, PointCloud, back_project, write_ply

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def flat(disp, occlusion=0.0):
    disp = np.asarray(disp, np.float32)
    return Disparity(disp, np.full_like(disp, occlusion), np.ones_like(disp))


def test_points_by_hand():
    disp = flat([[2, 2, 4], [2, np.inf, 2]])
    cloud = back_project(IMAGE, disp, Calibration(focal_px=10, baseline_m=1, doffs_px=0))
    # Depth 5 m at disparity 2 and 2.5 m at 4; the middle of a 3 x 2 image is at (1, 0.5).
    want = [[-0.5, -0.25, 5], [0, -0.25, 5], [0.25, -0.125, 2.5], [-0.5, 0.25, 5], [0.5, 0.25, 5]]
    np.testing.assert_allclose(cloud.points, want)
    np.testing.assert_array_equal(cloud.colours, IMAGE.reshape(-1, 3)[[0, 1, 2, 3, 5]])


def test_occluded_and_very_far_pixels_are_left_out_unless_asked_for():
    disp = flat([[2, 2, 2], [2, 0.01, 2]])
    disp.occlusion[0, 0] = 0.9
    calibration = Calibration(10, 1)
    assert len(back_project(IMAGE, disp, calibration).points) == 4
    assert len(back_project(IMAGE, disp, calibration, np.ones((2, 3), bool)).points) == 6


def test_a_scene_hidden_altogether_has_no_points():
    assert back_project(IMAGE, flat(np.ones((2, 3)), 1.0), Calibration(10, 1)).points.shape == (
        0,
        3,
    )


def test_the_image_must_be_that_of_the_disparity():
    with pytest.raises(ValueError, match=r"left must be the image of the disparity, \(2, 2\)"):
        back_project(IMAGE, flat(np.ones((2, 2))), Calibration(10, 1))


def test_a_ply_file_holds_the_points_in_the_order_of_its_header(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (5, 3), dtype=np.uint8)
    write_ply(tmp_path / "a.ply", PointCloud(points, colours))
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert b"element vertex 5\n" in header
    names = [line.split()[-1] for line in header.splitlines() if line.startswith(b"property")]
    assert names == [b"x", b"y", b"z", b"red", b"green", b"blue"]
    # 3 floats and 3 bytes a point, nothing between
    rows = np.frombuffer(body, np.uint8).reshape(5, 15)
    np.testing.assert_array_equal(rows[:, :12].copy().view("<f4"), points)
    np.testing.assert_array_equal(rows[:, 12:], colours)
