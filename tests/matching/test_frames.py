import numpy as np
import pytest

from matching.frames import inside_frame


def framed(height=100, width=200, left=5, right=0, top=3, bottom=0):
    """Bright noise with black edges of these widths."""
    grey = np.random.default_rng(0).uniform(0.2, 1, (height, width)).astype(np.float32)
    grey[:, :left] = 0
    grey[:, width - right :] = 0
    grey[:top] = 0
    grey[height - bottom :] = 0
    return grey


def test_a_picture_without_a_frame_has_none():
    assert inside_frame(framed(left=0, top=0)) is None


@pytest.mark.parametrize("widths", [(5, 0, 3, 0), (2, 4, 1, 6), (0, 9, 0, 0), (0, 0, 0, 1)])
def test_each_edge_is_masked_by_its_width_and_the_margin(widths):
    left, right, top, bottom = widths
    inside = inside_frame(framed(left=left, right=right, top=top, bottom=bottom))
    rows, columns = inside.any(1), inside.any(0)
    margins = [1 if width else 0 for width in widths]  # 0.4 % of 200 px
    assert columns.argmax() == left + margins[0]
    assert columns[::-1].argmax() == right + margins[1]
    assert rows.argmax() == top + margins[2]
    assert rows[::-1].argmax() == bottom + margins[3]


def test_a_bent_frame_is_masked_as_it_bends():
    grey = framed(left=0, top=0)
    width = (2 + 6 * np.linspace(-1, 1, 100) ** 2).astype(int)
    grey[np.arange(200) < width[:, None]] = 0
    inside = inside_frame(grey)
    np.testing.assert_array_equal(inside.argmax(1), width + 1)


def test_dark_things_that_touch_an_edge_are_part_of_the_picture():
    grey = framed(left=0, top=0)
    grey[20:60, :8] = 0  # less than most of the edge
    grey[:, 150:] = 0  # a dark quarter
    assert inside_frame(grey) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 3)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_tiny_and_even_pictures_keep_all_pixels(size, value):
    assert inside_frame(np.full(size, value, np.float32)) is None
