import numpy as np
import pytest

from eval.alone import matcher
from eval.methods import load_matcher
from matching import load_predictor
from tests.matching.test_aligned_look import texture


@pytest.fixture(scope="module")
def pair():
    image = texture(160, 208)
    return tuple(np.stack([part] * 3, axis=-1) for part in (image[:, :200], image[:, 8:]))


def test_the_matcher_alone_takes_no_step_after_the_network(pair):
    kpts0, kpts1, confidence = matcher(*pair)
    found = load_predictor("small").match(*pair, second_look=0, align=False, polish=False)
    assert len(found) > 50
    np.testing.assert_array_equal(kpts0, found.kpts0)
    np.testing.assert_array_equal(kpts1, found.kpts1)
    np.testing.assert_array_equal(confidence, found.confidence)
    assert (load_predictor("small").match(*pair).kpts1 != kpts1).any()


def test_it_is_a_method_by_its_name(pair):
    found = load_matcher("eval.alone:matcher").match(*pair)
    np.testing.assert_array_equal(found.kpts1, matcher(*pair)[1])
