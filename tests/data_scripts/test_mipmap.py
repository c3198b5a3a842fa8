import numpy as np
import pytest

from data_scripts import mipmap


def shrinking(scale):
    """Texture pixel of each image pixel when the image shows the texture `scale` times smaller."""
    offset = (scale - 1) / 2
    return np.array([[scale, 0, offset], [0, scale, offset], [0, 0, 1.0]])


@pytest.mark.parametrize("scale", [2.0, 3.3, 8.0])
def test_a_shrunk_checkerboard_is_grey(scale):
    board = np.indices((256, 256)).sum(0) % 2 * 255
    levels = mipmap.pyramid(np.repeat(board[..., None], 3, -1).astype(np.uint8))
    image = mipmap.render_plane(levels, shrinking(scale), (24, 24))
    assert np.abs(image.astype(int) - 127).max() <= 32


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.9, 2.8, 4.0])
def test_a_ramp_keeps_its_place_at_every_level(scale):
    # value = 2 * column, so each rendered value says which column was looked up, and the means of
    # neighbours are whole numbers
    ramp = np.repeat(np.broadcast_to(2 * np.arange(128), (128, 128))[..., None], 3, -1)
    levels = mipmap.pyramid(ramp.astype(np.uint8), levels=3)
    to_texture = shrinking(scale) + np.array([[0, 0, 10.0], [0, 0, 10.0], [0, 0, 0]])
    image = mipmap.render_plane(levels, to_texture, (26, 26)).astype(float)
    want = 2 * (to_texture[0, 0] * np.arange(26) + to_texture[0, 2])
    # rounding to whole numbers, and to 1/32 px of the pyramid level by OpenCV
    assert np.abs(image[:, :, 0] - want).max() <= 0.5 + 2 * scale / 32


def test_a_tilted_ramp_keeps_its_place():
    ramp = np.repeat(np.broadcast_to(np.arange(256), (256, 256))[..., None], 3, -1)
    levels = mipmap.pyramid(ramp.astype(np.uint8))
    to_texture = np.array([[1.5, 0, 40], [0, 4.5, 30], [0, 0.004, 1.0]])
    image = mipmap.render_plane(levels, to_texture, (40, 60)).astype(float)
    y, x = np.mgrid[:40, :60]
    want = (1.5 * x + 40) / (0.004 * y + 1)
    assert np.abs(image[4:-4, 4:-4, 0] - want[4:-4, 4:-4]).max() <= 1.5


def test_sampling_by_maps_equals_rendering_the_plane():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    levels = mipmap.pyramid(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    y, x = np.mgrid[:30, :40].astype(np.float32)
    level = np.full((30, 40), np.log2(2.0), np.float32)
    got = mipmap.sample(levels, 2 * x + 10, 2 * y + 12, level)
    want = mipmap.render_plane(levels, np.array([[2.0, 0, 10], [0, 2, 12], [0, 0, 1]]), (30, 40))
    assert np.abs(got.astype(int) - want).max() <= 2
