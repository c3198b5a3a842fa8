import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching.keypoint_merging import merge_points, merge_scene, one_to_one
from matching.matches import Matches
from matching.shards import PairResult

pytestmark = pytest.mark.once


def result(image0, image1, kpts0, kpts1, confidence=None, size=(100, 100)):
    kpts0, kpts1 = np.float32(kpts0).reshape(-1, 2), np.float32(kpts1).reshape(-1, 2)
    sure = np.full(len(kpts0), 0.5) if confidence is None else confidence
    return PairResult(image0, image1, size, size, Matches(kpts0, kpts1, np.float32(sure)))


def test_merging_by_hand():
    # 10 has the most votes, so 11 joins it and 12, two away from it, does not; 11 is as near to both.
    points = np.float32([[10, 0], [10, 0], [11, 0], [12, 0], [30, 5]])
    votes = np.float32([0.5, 0.5, 0.4, 0.9, 0.1])
    keypoints, score, index = merge_points(points, votes, 1.5)
    assert keypoints.tolist() == [[10, 0], [12, 0], [30, 5]]
    assert index[[0, 1, 3, 4]].tolist() == [0, 0, 1, 2]
    assert index[2] in (0, 1)
    assert score.sum() == pytest.approx(votes.sum())


@given(st.integers(0, 80), st.floats(0, 30), st.integers(0, 99))
def test_merged_points_lie_apart_and_near_their_members(count, radius, seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 200, (count, 2)).astype(np.float32) / 2
    keypoints, score, index = merge_points(points, rng.random(count).astype(np.float32), radius)
    assert len(score) == len(keypoints)
    between = np.linalg.norm(keypoints[:, None] - keypoints[None], axis=2)
    assert (between[~np.eye(len(keypoints), dtype=bool)] > radius).all()
    moved = np.linalg.norm(points - keypoints[index], axis=1)
    assert (moved <= radius).all()
    if count:
        all_distances = np.linalg.norm(points[:, None] - keypoints[None], axis=2)
        np.testing.assert_allclose(moved, all_distances.min(1), atol=1e-6)


def test_one_to_one_keeps_the_surest_in_both_columns():
    index0, index1 = np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 7])
    confidence = np.array([0.5, 0.9, 0.8, 0.3, 0.3])
    # 0-6 first; 0-5 has 0 again, 1-6 has 6 again; of the equal ones 2-7 comes first.
    assert one_to_one(index0, index1, confidence).tolist() == [1, 3]
    assert one_to_one(*(np.zeros(0, int),) * 2, np.zeros(0)).tolist() == []


def test_a_point_found_in_three_images_is_one_track():
    # b was found half a pixel beside itself when it came second.
    results = [
        result("a", "b", [[8, 8]], [[20.5, 8]]),
        result("a", "c", [[8, 8]], [[40.25, 8]]),
        result("b", "c", [[20, 8]], [[40, 8]]),
    ]
    scene = merge_scene(results, 1.0)
    assert [len(scene.images[name].keypoints) for name in "abc"] == [1, 1, 1]
    assert [pair.index.tolist() for pair in scene.pairs] == [[[0, 0]]] * 3
    apart = merge_scene(results, 0.1)
    assert [len(apart.images[name].keypoints) for name in "abc"] == [1, 2, 2]


def test_both_directions_of_a_pair_are_one_and_failures_are_none():
    results = [
        result("a", "b", [[0, 0], [50, 0]], [[10, 0], [60, 0]], [0.9, 0.8]),
        result("b", "a", [[10, 0], [70, 0]], [[0, 0], [80, 0]], [0.7, 0.6]),
        PairResult.failed(("a", "x"), error1="no such file"),
    ]
    scene = merge_scene(results, 1.0)
    assert list(scene.images) == ["a", "b"]
    (pair,) = scene.pairs
    assert (pair.image0, pair.image1) == ("a", "b")
    xs = [
        (scene.images["a"].keypoints[i, 0], scene.images["b"].keypoints[j, 0])
        for i, j in pair.index
    ]
    assert xs == [(0, 10), (50, 60), (80, 70)]


def test_unsure_matches_are_left_out_and_wrong_arguments_told():
    results = [result("a", "b", [[0, 0], [9, 9]], [[1, 1], [5, 5]], [0.9, 0.1])]
    assert len(merge_scene(results, 1.0, 0.5).pairs[0].index) == 1
    with pytest.raises(ValueError, match="radius must be 0 px or more"):
        merge_scene(results, -1.0)
    grown = [*results, result("a", "c", [[0, 0]], [[0, 0]], size=(50, 50))]
    with pytest.raises(ValueError, match="a: must have one size in a run"):
        merge_scene(grown, 1.0)


def test_images_without_matches_stay_and_have_no_key_points():
    scene = merge_scene([result("a", "b", [], [])], 1.0)
    assert scene.images["a"].keypoints.shape == (0, 2)
    assert scene.pairs[0].index.shape == (0, 2)
