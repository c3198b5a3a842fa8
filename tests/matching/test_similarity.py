import numpy as np
import pytest

from matching.similarity import FEWEST, SAME, Similarity, similarity_of


def of(zoom, turn_deg, shift=(0.0, 0.0)):
    turn = np.deg2rad(turn_deg)
    rows = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Similarity(np.column_stack([rows, shift]), 0)


def test_zoom_turn_and_shift_by_hand():
    quarter = of(2, 90, (10, 0))
    assert quarter.zoom == pytest.approx(2)
    assert quarter.turn_deg == pytest.approx(90)
    np.testing.assert_allclose(quarter(np.array([[1, 0], [0, 1]])), [[10, 2], [8, 0]], atol=1e-12)
    points = np.array([[3.0, 4.0], [-5.0, 6.0]])
    np.testing.assert_allclose(quarter.back(quarter(points)), points)


@pytest.mark.parametrize(("zoom", "turn_deg"), [(1, 0), (0.3, 170), (4, -95)])
def test_it_is_found_among_outliers(zoom, turn_deg):
    rng = np.random.default_rng(1)
    true = of(zoom, turn_deg, (40, -7))
    kpts0 = rng.uniform(0, 600, (100, 2))
    kpts1 = true(kpts0) + rng.normal(0, 2, (100, 2))
    kpts1[:60] = rng.uniform(0, 600, (60, 2))
    found = similarity_of(kpts0.astype(np.float32), kpts1.astype(np.float32), 600)
    assert found.is_near(true, 3, 1.05)
    assert found.support >= 40
    assert np.linalg.norm(found(kpts0[60:]) - kpts1[60:], axis=1).max() < 18


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_few_points_give_none(count):
    points = np.random.default_rng(0).uniform(0, 100, (count, 2))
    assert similarity_of(points, points, 100) is None


def test_points_that_fall_on_one_place_give_none():
    points = np.random.default_rng(0).uniform(0, 1000, (50, 2))
    assert similarity_of(points, np.full((50, 2), 7.0), 1000) is None
    assert similarity_of(np.full((50, 2), 7.0), points, 1000) is None


def test_nearness_goes_round_the_circle_and_both_ways_of_zoom():
    assert of(1, 175).is_near(of(1, -175), 11, 1.1)
    assert not of(1, 175).is_near(of(1, -175), 9, 1.1)
    assert of(0.8, 0).is_near(SAME, 1, 1.3)
    assert not of(0.75, 0).is_near(SAME, 1, 1.3)
    assert not of(1.31, 0).is_near(SAME, 1, 1.3)
