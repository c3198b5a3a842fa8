import numpy as np
import pytest
import torch

from matching import load_predictor
from matching.config import PRESETS
from matching.model import build_matcher
from matching.polished_matches import polished_matches
from tests.matching.test_aligned_look import matches, prepared, texture


def shifted_pair(long_side=None):
    """Two cuts of one image, 7 px apart."""
    image = texture(160, 240)
    return prepared(image[:, :233], None, long_side), prepared(image[:, 7:], None, long_side)


def grid():
    y, x = np.mgrid[20:140:8, 20:210:8]
    return np.column_stack([x.ravel(), y.ravel()]).astype(np.float32)


def test_points_go_to_where_the_images_agree():
    kpts0 = grid()
    wrong = np.random.default_rng(0).normal(0, 0.3, kpts0.shape)
    found = matches(kpts0, kpts0 - [7, 0] + wrong)
    better = polished_matches(found, *shifted_pair())
    np.testing.assert_array_equal(better.kpts0, found.kpts0)
    np.testing.assert_array_equal(better.confidence, found.confidence)
    error = np.linalg.norm(better.kpts1 - (kpts0 - [7, 0]), axis=1)
    assert np.median(error) < 0.05


def test_pixels_are_those_of_the_images_as_given():
    kpts0 = grid()
    found = matches(kpts0, kpts0 - [7, 0] + [0.8, -0.6])
    better = polished_matches(found, *shifted_pair(120))  # about half the size
    assert np.median(np.linalg.norm(better.kpts1 - (kpts0 - [7, 0]), axis=1)) < 0.3


def test_points_of_even_images_keep_their_bits():
    kpts0 = grid() + np.float32(0.1)
    found = matches(kpts0, kpts0 + np.float32(0.37))
    even = prepared(np.full((160, 240), 90, np.uint8), None, 111)
    np.testing.assert_array_equal(polished_matches(found, even, even).kpts1, found.kpts1)


@pytest.mark.parametrize(("name", "ours"), [("small", True), ("loftr", False)])
def test_official_presets_are_polished_on_request_alone(name, ours, monkeypatch):
    torch.manual_seed(0)
    predictor = load_predictor(build_matcher(PRESETS[name]).eval(), long_side=None)
    asked = []
    monkeypatch.setattr(
        "matching.network.polished_matches", lambda found, *_: asked.append(1) or found
    )
    image = texture(64, 64)
    for polish, expected in ((None, ours), (True, True), (False, False)):
        asked.clear()
        predictor.match(image, image, polish=polish)
        assert bool(asked) is expected
