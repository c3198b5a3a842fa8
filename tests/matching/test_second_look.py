import numpy as np
import pytest
import torch

from matching import load_predictor
from matching.matches import Matches
from matching.model import build_matcher
from matching.resize import prepare
from matching.second_look import LONG_SIDE, can_shrink, of_both, smaller
from tests.matching.test_model import TINY


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    return load_predictor(build_matcher(TINY).eval(), long_side=None)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def test_the_smaller_image_goes_back_to_the_image_as_given():
    mask = np.ones((300, 900), bool)
    mask[:, :300] = False
    image = prepare(picture(300, 900).astype(np.float32) / 255, mask, None)
    small = smaller(image)
    assert small.grey.shape == (160, LONG_SIDE)
    assert small.size == (300, 900)
    assert small.given_mask.shape == (300, 900)
    assert small.mask.mean() == pytest.approx(2 / 3)


def test_only_what_gets_smaller_is_looked_at_again():
    large, fitting = (prepare(np.zeros((20, w), np.float32), None, None) for w in (481, 480))
    assert can_shrink(fitting, large)
    assert not can_shrink(fitting, fitting)


def test_matches_of_both_looks_are_sorted_and_equals_keep_their_order():
    def matches(*confidence):
        points = np.arange(2 * len(confidence), dtype=np.float32).reshape(-1, 2)
        return Matches(points, points + 1, np.array(confidence, np.float32))

    both = of_both(matches(0.9, 0.5), matches(0.7, 0.5))
    np.testing.assert_allclose(both.confidence, [0.9, 0.7, 0.5, 0.5])
    np.testing.assert_array_equal(both.kpts0, [[0, 1], [0, 1], [2, 3], [2, 3]])
    np.testing.assert_array_equal(both.kpts1, both.kpts0 + 1)
    assert len(of_both(matches(), matches())) == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_few_matches_are_joined_by_those_of_the_smaller_pair(predictor, symmetric):
    pair = picture(64, 560), picture(64, 560)
    options = {"symmetric": symmetric, "rotations": (0, 180), "align": False}
    once = predictor.match(*pair, second_look=0, **options)
    assert len(once) > 0
    enough = predictor.match(*pair, second_look=len(once), **options)
    np.testing.assert_array_equal(enough.kpts0, once.kpts0)
    twice = predictor.match(*pair, second_look=10**6, **options)
    assert len(twice) > len(once)
    assert {tuple(row) for row in once.kpts0} < {tuple(row) for row in twice.kpts0}
    assert (np.diff(twice.confidence) <= 0).all()
    assert (twice.kpts1 >= 0).all()
    assert (twice.kpts1 <= [559, 63]).all()
    best = predictor.match(*pair, second_look=10**6, max_matches=3, **options)
    np.testing.assert_array_equal(best.kpts0, twice.kpts0[:3])


def test_many_pairs_are_looked_at_as_each_alone(predictor):
    pairs = [(picture(64, 560), picture(64, 560)), (picture(64, 96), picture(64, 96))]
    many = predictor.match_many(pairs, second_look=10**6)
    for found, pair in zip(many, pairs, strict=True):
        np.testing.assert_array_equal(found.kpts1, predictor.match(*pair, second_look=10**6).kpts1)


def test_a_negative_number_is_refused(predictor):
    with pytest.raises(ValueError, match="second_look must be 0 or more matches, got -1"):
        predictor.match(picture(32, 32), picture(32, 32), second_look=-1)
