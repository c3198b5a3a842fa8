import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from matching.attention_view import AttentionTrace, VisitedBoxes
from matching.draw import COLOURS, draw_attention, draw_matches
from matching.matches import Matches

pytestmark = pytest.mark.once

DARK = np.zeros((60, 80, 3), np.uint8)


def matches_of(confidence):
    n = len(confidence)
    kpts = np.stack([np.linspace(5, 70, n), np.linspace(5, 50, n)], 1).astype(np.float32)
    return Matches(kpts.reshape(n, 2), kpts.reshape(n, 2), np.array(confidence, np.float32))


def test_a_match_is_drawn_between_its_two_points():
    figure = draw_matches(DARK, DARK[:30], matches_of([0.5]))
    (lines,) = [c for c in figure.axes[0].collections if type(c).__name__ == "LineCollection"]
    ((start, end),) = lines.get_segments()
    shift = 80 + 3 + 1  # width of image 0, 2 % of both widths, 1
    np.testing.assert_allclose([start, end], [[5, 5], [5 + shift, 5]])
    assert len(figure.axes[0].images) == 2


def test_every_match_has_the_colour_of_its_confidence_on_the_colourbar():
    figure = draw_matches(DARK, DARK, matches_of([0.9, 0.2]))
    axes, bar = figure.axes
    points0, points1, lines = axes.collections
    want = colormaps[COLOURS]([0.2, 0.9])  # the surest is drawn last, on top
    for drawn in (points0.get_facecolor(), points1.get_facecolor(), lines.get_colors()):
        np.testing.assert_allclose(np.asarray(drawn)[:, :3], want[:, :3])
    assert bar.get_ylim() == (0, 1)


def test_lines_go_evenly_through_the_ranks_and_points_to_all_matches():
    matches = matches_of([0.9, 0.8, 0.7, 0.6, 0.5])
    points0, _, lines = draw_matches(DARK, DARK, matches, max_lines=3).axes[0].collections
    assert len(points0.get_offsets()) == 5
    starts = sorted(segment[0][0] for segment in lines.get_segments())
    np.testing.assert_allclose(starts, matches.kpts0[[0, 2, 4], 0])


@pytest.mark.parametrize("sizes", [((1, 1), (1, 1)), ((1, 700), (700, 1)), ((3, 3000), (20, 10))])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_images_of_any_size_can_be_drawn_without_matches(tmp_path, sizes, suffix):
    path = tmp_path / f"matches{suffix}"
    draw_matches(*(np.zeros(size, np.uint8) for size in sizes), matches_of([]), path)
    assert path.stat().st_size > 1000
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_attention_shows_every_cell_and_the_finest_ones_strongest(tmp_path):
    levels = [
        VisitedBoxes(np.array([[-0.5, -0.5, 31.5, 31.5], [31.5, -0.5, 63.5, 31.5]]), np.ones(2)),
        VisitedBoxes(np.array([[-0.5, -0.5, 15.5, 15.5]]), np.ones(1)),
        VisitedBoxes(np.zeros((0, 4)), np.zeros(0)),  # nothing there: all in the padding
    ]
    trace = AttentionTrace((20.0, 30.0), np.array([15.5, 23.5, 23.5, 31.5]), levels)
    path = tmp_path / "attention.png"
    figure = draw_attention(DARK, DARK, trace, path)
    coarse, fine, nothing = figure.axes[0].collections
    assert [len(level.get_paths()) for level in (coarse, fine, nothing)] == [2, 1, 0]
    assert fine.get_facecolor()[0, 3] > coarse.get_facecolor()[0, 3]
    assert cv2.imread(str(path)).shape[1] == 12 * 150


def test_a_picture_needs_a_suffix_that_says_its_format(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .png, .jpg, .pdf, .svg, got '.docx'"):
        draw_matches(DARK, DARK, matches_of([]), tmp_path / "matches.docx")
