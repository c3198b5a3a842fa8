import numpy as np
import pytest
import torch

from matching.local_affine import local_affine

pytestmark = pytest.mark.once


def turn(angle_deg, zoom=1.0):
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return zoom * np.array([[c, -s], [s, c]])


def cloud(N=400, side=240, seed=0):
    return np.random.default_rng(seed).uniform(0, side, (N, 2))


MAPS = [turn(0), turn(133, 0.35), turn(-90, 2.8), np.array([[1, 0.4], [0, 0.6]])]


@pytest.mark.parametrize("A", MAPS)
def test_maps_are_those_that_moved_the_points(A):
    points = cloud()
    found, known = local_affine(points, points @ A.T + [70, -30])
    assert known.all()
    np.testing.assert_allclose(found, np.tile(A, (400, 1, 1)), atol=0.02)


@pytest.mark.parametrize("A", MAPS)
def test_a_quarter_of_wrong_matches_changes_little(A):
    points = cloud()
    moved = points @ A.T
    wrong = np.arange(400) % 4 == 0
    moved[wrong] = np.random.default_rng(1).permutation(moved)[wrong]
    found, known = (each[~wrong] for each in local_affine(points, moved))
    assert known.all()
    assert np.quantile(abs(found - A).max(axis=(1, 2)), 0.95) < 0.05


def test_two_surfaces_keep_their_own_maps():
    points = cloud(2000)
    left, right = points[:, 0] < 85, points[:, 0] > 155
    first, second = turn(10), turn(-10, 1.3)
    moved = points @ first.T
    moved[points[:, 0] > 120] = (points @ second.T + [300, 0])[points[:, 0] > 120]
    found, _ = local_affine(points, moved)
    np.testing.assert_allclose(found[left], np.tile(first, (left.sum(), 1, 1)), atol=0.05)
    np.testing.assert_allclose(found[right], np.tile(second, (right.sum(), 1, 1)), atol=0.05)


def test_a_lonely_match_takes_the_map_of_the_others():
    points = np.vstack([cloud(), [[900, 900]]])
    found, known = local_affine(points, points @ turn(60, 0.5).T)
    assert known[-1]
    np.testing.assert_allclose(found[-1], turn(60, 0.5), atol=0.02)


@pytest.mark.parametrize("N", [0, 1, 2, 3, 4])
def test_of_too_few_matches_nothing_is_known(N):
    for points in (np.full((N, 2), 7.0), cloud(N)):
        found, known = local_affine(points, 2 * points)
        np.testing.assert_array_equal(found, np.tile(np.eye(2), (N, 1, 1)))
        assert known.shape == (N,)
        assert not known.any()


def test_mirrored_matches_do_not_turn_maps_over():
    points = cloud()
    found, known = local_affine(points, points * [-1, 1])
    assert (np.linalg.det(found) > 0).all()
    assert not known.any()


def test_threads_do_not_change_a_bit(monkeypatch):
    points = cloud(1500, 400)
    moved = points @ turn(20).T + cloud(1500, 3, seed=2)
    want, _ = local_affine(points, moved)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    np.testing.assert_array_equal(local_affine(points, moved)[0], want)
