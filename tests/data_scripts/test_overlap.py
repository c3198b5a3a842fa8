import numpy as np
import pytest

from data_scripts.overlap import depth_view, overlap, seen_share, sees

K = np.array([[100, 0, 79.5], [0, 100, 59.5], [0, 0, 1.0]])
WALL = np.full((120, 160), 2.0, np.float32)


def moved(x=0.0, z=0.0):
    T = np.eye(4)
    T[0, 3], T[2, 3] = x, z
    return T


def test_a_view_overlaps_itself_wholly():
    view = depth_view(WALL, K)
    assert overlap(view, view, np.eye(4)) == 1


@pytest.mark.parametrize("columns", [40, 80, 120, 160])
def test_a_step_to_the_side_loses_the_columns_that_leave_the_image(columns):
    # a wall at 2 m moves by 100 px / m * x / 2
    view = depth_view(WALL, K)
    share = overlap(view, view, moved(x=-columns * 2 / 100))
    assert share == pytest.approx(1 - columns / 160, abs=0.03)


def test_the_overlap_is_the_same_from_either_side():
    first, second = depth_view(WALL, K), depth_view(WALL[:90] * 1.5, K)
    T = moved(x=0.1, z=1.0)
    assert overlap(first, second, T) == overlap(second, first, np.linalg.inv(T))


def test_a_near_view_sees_a_part_of_what_a_far_one_sees():
    # the second camera stands at half the distance: it sees half the width and height
    first, second = depth_view(WALL, K), depth_view(WALL / 2, K)
    assert seen_share(first, second, moved(z=-1)) == pytest.approx(0.25, abs=0.03)
    assert seen_share(second, first, moved(z=1)) == 1
    assert overlap(first, second, moved(z=-1)) == pytest.approx(0.25, abs=0.03)


def test_what_stands_in_front_hides():
    hidden = WALL.copy()
    hidden[:, :80] = 1.0
    share = seen_share(depth_view(WALL, K), depth_view(hidden, K), np.eye(4))
    assert share == pytest.approx(0.5, abs=0.02)


def test_unknown_depth_is_neither_seen_nor_counted():
    half = WALL.copy()
    half[:, :80] = 0
    first, second = depth_view(half, K), depth_view(WALL, K)
    assert seen_share(first, second, np.eye(4)) == 1
    assert seen_share(second, first, np.eye(4)) == pytest.approx(0.5, abs=0.02)
    nothing = depth_view(WALL * 0, K)
    assert overlap(nothing, second, np.eye(4)) == 0


def test_a_view_to_the_back_sees_nothing():
    view = depth_view(WALL, K)
    turned = np.diag([-1.0, 1, -1, 1])
    assert not sees(view, view, turned)
    assert overlap(view, view, turned) == 0
    assert sees(view, view, moved(x=0.5))


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (480, 640), (11, 500)])
def test_any_size_of_depth_will_do(size):
    view = depth_view(np.full(size, 1.0, np.float32), np.diag([5.0, 5, 1]))
    assert overlap(view, view, np.eye(4)) == 1


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="H, W"):
        depth_view(np.ones((2, 3, 1)), K)
