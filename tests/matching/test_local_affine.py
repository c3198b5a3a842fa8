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
    found = local_affine(points, points @ A.T + [70, -30])
    np.testing.assert_allclose(found, np.tile(A, (400, 1, 1)), atol=0.02)


@pytest.mark.parametrize("A", MAPS)
def test_a_quarter_of_wrong_matches_changes_little(A):
    points = cloud()
    moved = points @ A.T
    wrong = np.arange(400) % 4 == 0
    moved[wrong] = np.random.default_rng(1).permutation(moved)[wrong]
    found = local_affine(points, moved)[~wrong]
    assert np.quantile(abs(found - A).max(axis=(1, 2)), 0.95) < 0.05


def test_two_surfaces_keep_their_own_maps():
    points = cloud(2000)
    left, right = points[:, 0] < 85, points[:, 0] > 155
    first, second = turn(10), turn(-10, 1.3)
    moved = points @ first.T
    moved[points[:, 0] > 120] = (points @ second.T + [300, 0])[points[:, 0] > 120]
    found = local_affine(points, moved)
    np.testing.assert_allclose(found[left], np.tile(first, (left.sum(), 1, 1)), atol=0.05)
    np.testing.assert_allclose(found[right], np.tile(second, (right.sum(), 1, 1)), atol=0.05)


def test_a_lonely_match_takes_the_map_of_the_others():
    points = np.vstack([cloud(), [[900, 900]]])
    found = local_affine(points, points @ turn(60, 0.5).T)
    np.testing.assert_allclose(found[-1], turn(60, 0.5), atol=0.02)


@pytest.mark.parametrize("N", [0, 1, 2, 3, 5])
def test_few_or_equal_matches_give_the_identity(N):
    same = np.full((N, 2), 7.0)
    np.testing.assert_array_equal(local_affine(same, same), np.tile(np.eye(2), (N, 1, 1)))


def test_mirrored_matches_do_not_turn_maps_over():
    points = cloud()
    assert (np.linalg.det(local_affine(points, points * [-1, 1])) > 0).all()


def test_threads_do_not_change_a_bit(monkeypatch):
    points = cloud(1500, 400)
    moved = points @ turn(20).T + cloud(1500, 3, seed=2)
    want = local_affine(points, moved)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    np.testing.assert_array_equal(local_affine(points, moved), want)
