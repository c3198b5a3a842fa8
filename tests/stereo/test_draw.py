import cv2
import numpy as np
import pytest

from stereo.disparity import Disparity
from stereo.draw import draw_disparity

LEFT = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
RAMP = np.tile(np.arange(60, dtype=np.float32), (40, 1))


def answer(disp=RAMP, hidden=0):
    occlusion = np.zeros_like(disp)
    occlusion[:, :hidden] = 1
    return Disparity(disp, occlusion, np.ones_like(disp))


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_written_whole(tmp_path, suffix):
    draw_disparity(LEFT, answer(), tmp_path / f"a{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    if suffix == ".png":
        assert cv2.imread(str(tmp_path / f"a{suffix}")).std() > 10


def test_the_share_of_occluded_pixels_is_told_and_drawn():
    figure = draw_disparity(LEFT, answer(hidden=15))
    assert titles(figure) == ["left image", "disparity", "25.0 % occluded", "confidence"]
    (panel,) = (axes for axes in figure.axes if "occluded" in axes.get_title())
    mask = panel.images[1].get_array()
    assert (mask[:, :15, 3] > 0).all()
    assert (mask[:, 15:, 3] == 0).all()


def test_error_is_of_known_pixels_alone():
    # Half of the known pixels are 4 px off: mean 2, half of them bad.
    truth = RAMP.copy()
    truth[:20] += 4
    truth[:, 30:] = np.inf
    figure = draw_disparity(LEFT, answer(), truth=truth)
    assert titles(figure)[-1] == "error; mean 2.00 px, 50.0 % above 2 px"
    nothing = draw_disparity(LEFT, answer(), truth=np.full((40, 60), np.inf))
    assert titles(nothing)[-1] == "error; nothing is known"


def test_stray_pixels_do_not_take_the_colours():
    disp = RAMP.copy()
    disp[0, 0] = 1e5
    figure = draw_disparity(LEFT, answer(disp))
    low, high = figure.axes[1].images[0].get_clim()
    assert 0 <= low < high <= 60


@pytest.mark.parametrize("size", [(1, 300), (300, 1)])
def test_images_of_any_form_are_drawn(tmp_path, size):
    flat = np.zeros(size, np.float32)
    draw_disparity(np.zeros(size, np.uint8), answer(flat), tmp_path / "a.png")


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"left must have the size of the disparity, \(40, 60\)"):
        draw_disparity(LEFT[1:], answer())
    with pytest.raises(ValueError, match="truth must have the size"):
        draw_disparity(LEFT, answer(), truth=RAMP[:, 1:])
