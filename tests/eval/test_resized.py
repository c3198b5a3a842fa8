import cv2
import numpy as np
import pytest

from eval.resized import (
    Sizing,
    read_resized,
    resize_transform,
    resized_homography,
    resized_intrinsics,
)
from matching.geometry import warp_points


def test_a_large_image_is_shrunk_and_a_small_one_left(tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((300, 600, 3), np.uint8))
    shrunk, left = (read_resized(path, Sizing("long side", side)) for side in (200, 1000))
    assert (shrunk.rgb.shape, shrunk.scale) == ((100, 200, 3), (1 / 3, 1 / 3))
    assert (left.rgb.shape, left.scale) == ((300, 600, 3), (1, 1))


def test_colours_come_as_red_green_blue(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), np.uint8))  # OpenCV writes blue first
    assert read_resized(path, Sizing()).rgb[0, 0].tolist() == [255, 0, 0]


def test_a_point_of_the_shrunk_picture_is_where_the_transform_says():
    image = np.zeros((90, 120), np.float32)
    image[30:33, 60:63] = 1  # a square whose centre is (61, 31)
    shrunk = cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA)
    (y,), (x,) = np.nonzero(shrunk)
    moved = warp_points(np.array([[61.0, 31.0]]), resize_transform((1 / 3, 1 / 3)))
    np.testing.assert_allclose(moved, [[x, y]])


def test_intrinsics_and_homography_follow_the_pixels():
    scale0, scale1 = (0.5, 0.25), (0.75, 0.8)
    K = np.array([[700.0, 0, 310], [0, 720, 250], [0, 0, 1]])
    H = np.array([[0.9, -0.1, 30], [0.05, 1.1, -20], [1e-4, -2e-5, 1]])
    rays = np.array([[0.1, 0.2], [-0.3, 0.05]])
    points = warp_points(rays, K)
    small = warp_points(points, resize_transform(scale0))
    np.testing.assert_allclose(warp_points(rays, resized_intrinsics(K, scale0)), small)
    want = warp_points(warp_points(points, H), resize_transform(scale1))
    np.testing.assert_allclose(warp_points(small, resized_homography(H, scale0, scale1)), want)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_resized(tmp_path / "absent.png", Sizing())


@pytest.mark.parametrize(
    ("sizing", "want"),
    [
        (
            Sizing("long side", 840, multiple=8, enlarge=True),
            (560, 840),
        ),  # 1000 x 1500 -> 560 x 840
        (Sizing("long side", 832, multiple=32, enlarge=True), (544, 832)),  # 554.7, rounded down
        (Sizing("short side", 480, enlarge=True), (480, 720)),
        (Sizing("short side", 2000), (1000, 1500)),  # never enlarged
        (Sizing("short side", 2000, enlarge=True), (2000, 3000)),
        (Sizing("exact", (480, 640)), (480, 640)),
        (Sizing("as given"), (1000, 1500)),
    ],
)
def test_sizes_by_hand(sizing, want):
    assert sizing.of(1000, 1500) == want


def test_a_sizing_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="exact alone"):
        Sizing("long side", (480, 640))
    with pytest.raises(ValueError, match="filter must be"):
        Sizing("as given", filter="cubic")
