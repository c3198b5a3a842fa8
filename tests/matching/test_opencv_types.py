import cv2
import numpy as np
import pytest

from matching.matches import Matches
from matching.opencv_types import from_opencv, to_opencv

RNG = np.random.default_rng(0)


def some(count):
    sure = np.sort(RNG.random(count).astype(np.float32))[::-1]
    return Matches(*RNG.random((2, count, 2), dtype=np.float32) * 100, sure)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_there_and_back_is_the_same(count):
    matches = some(count)
    back = from_opencv(*to_opencv(matches))
    np.testing.assert_array_equal(back.kpts0, matches.kpts0)
    np.testing.assert_array_equal(back.kpts1, matches.kpts1)
    np.testing.assert_allclose(back.confidence, matches.confidence, atol=1e-6)


def test_opencv_draws_them_and_the_best_comes_first():
    keypoints0, keypoints1, joined = to_opencv(some(20))
    image = np.zeros((100, 100), np.uint8)
    assert cv2.drawMatches(image, keypoints0, image, keypoints1, joined, None).any()
    assert min(joined, key=lambda m: m.distance).queryIdx == 0


def test_distances_without_a_scale_are_ordered():
    keypoints = [cv2.KeyPoint(float(x), 2.0, 1.0) for x in range(3)]
    joined = [cv2.DMatch(0, 1, 300.0), cv2.DMatch(2, 0, 9.0)]
    matches = from_opencv(keypoints, keypoints, joined)
    assert matches.kpts0.tolist() == [[2, 2], [0, 2]]
    np.testing.assert_allclose(matches.confidence, [1 / 10, 1 / 301])


def test_a_match_of_a_missing_key_point_is_told():
    with pytest.raises(ValueError, match=r"key points below \(1, 1\), got \(0, 4\)"):
        from_opencv([cv2.KeyPoint(0, 0, 1)], [cv2.KeyPoint(0, 0, 1)], [cv2.DMatch(0, 4, 0.5)])
