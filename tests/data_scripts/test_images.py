import cv2
import numpy as np
import pytest

from data_scripts.images import fit_long_side, read_depth, read_rgb, resize_map, resized


def test_resizing_keeps_areas_in_place():
    # halving: the centre of the top-left 2 x 2 pixels (0.5, 0.5) becomes pixel (0, 0)
    np.testing.assert_allclose(resize_map((8, 12), (4, 6)) @ [0.5, 0.5, 1], [0, 0, 1])


def test_a_spot_lands_where_the_map_says():
    spot = np.zeros((90, 120, 3), np.uint8)
    spot[40:50, 60:70] = 255  # centred at x 64.5, y 44.5
    small = resized(spot, (30, 60)).astype(float)[..., 0]
    y, x = np.mgrid[:30, :60]
    centre = [(small * axis).sum() / small.sum() for axis in (x, y)]
    want = resize_map((90, 120), (30, 60)) @ [64.5, 44.5, 1]
    np.testing.assert_allclose(centre, want[:2], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "long_side", "want"),
    [((480, 640), 320, (240, 320)), ((10, 3), None, (10, 3)), ((1000, 1), 100, (100, 1))],
)
def test_the_longer_side_is_fitted(size, long_side, want):
    assert fit_long_side(size, long_side) == want


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_files_that_are_no_image_are_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png must be"):
        read_rgb(path)
    with pytest.raises(ValueError, match=r"broken\.png must be"):
        read_depth(path)


def test_depth_comes_in_metres(tmp_path):
    path = tmp_path / "depth.png"
    cv2.imwrite(str(path), np.array([[0, 1500]], np.uint16))
    np.testing.assert_allclose(read_depth(path), [[0, 1.5]])
