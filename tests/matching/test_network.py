"""The predictor round the real network, with random weights: what must hold to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from matching.config import PRESETS
from matching.model import build_matcher
from matching.predictor import MatchPredictor

SMALL = PRESETS["small"]
CONFIG = replace(
    SMALL, threshold=0.0, coarse=replace(SMALL.coarse, kinds=("self", "cross"), topk=(4, 3, 2))
)
SCENE = np.random.default_rng(0).integers(0, 256, (150, 210), dtype=np.uint8)
LEFT, RIGHT = SCENE[:110, :150], SCENE[20:, 30:]


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    return MatchPredictor(build_matcher(CONFIG), dtype=torch.float32, long_side=128)


def rows(kpts0, kpts1, confidence):
    return sorted(map(tuple, np.concatenate([kpts0, kpts1, confidence[:, None]], 1).tolist()))


@pytest.mark.parametrize("rotations", [(0,), (0, 90)])
def test_symmetric_matches_are_the_same_set_either_way(predictor, rotations):
    ahead = predictor.match(LEFT, RIGHT, symmetric=True, rotations=rotations)
    back = predictor.match(RIGHT, LEFT, symmetric=True, rotations=rotations)
    assert len(ahead) > 0
    assert rows(ahead.kpts0, ahead.kpts1, ahead.confidence) == rows(
        back.kpts1, back.kpts0, back.confidence
    )


def test_many_pairs_and_kept_features_give_what_single_calls_give(predictor):
    want = predictor.match(LEFT, RIGHT)
    kept = predictor.match(predictor.extract(LEFT), predictor.extract(RIGHT))
    first, other, many = predictor.match_many([(LEFT, RIGHT), (LEFT, LEFT), (LEFT, RIGHT)])
    assert len(other) > 0
    for found in (kept, first, many):
        np.testing.assert_array_equal(found.kpts0, want.kpts0)
        np.testing.assert_array_equal(found.kpts1, want.kpts1)
        np.testing.assert_array_equal(found.confidence, want.confidence)


@pytest.mark.parametrize("size", [(1, 1), (3, 120), (9, 7), (17, 33)])
def test_images_below_a_cell_or_two_are_matched_without_harm(predictor, size):
    tiny = SCENE[: size[0], : size[1]]
    for matches in (predictor.match(tiny, RIGHT), predictor.match(RIGHT, tiny)):
        assert np.isfinite(matches.kpts0).all()
    kpts = predictor.match(tiny, tiny).kpts1
    assert ((kpts >= 0) & (kpts <= (size[1] - 1, size[0] - 1))).all()


def test_an_image_masked_altogether_matches_nothing(predictor):
    nothing = np.zeros(LEFT.shape, bool)
    assert len(predictor.match(LEFT, RIGHT, masks=(nothing, None))) == 0
    assert len(predictor.match(RIGHT, LEFT, masks=(None, nothing))) == 0
