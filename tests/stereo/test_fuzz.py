"""Whatever the predictor is given, it answers with finite maps of the image's size or one clear error."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stereo.model import build_stereo
from stereo.predictor import load_predictor
from tests.stereo.block_matcher import BlockMatcher
from tests.stereo.tiny import TINY

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 130), st.sampled_from([1, 2, 16, 333]))
DTYPES = st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64])
KINDS = st.sampled_from(["noise", "black", "white", "stripes", "swapped", "strangers"])
REFUSED = (ValueError, TypeError)


def tiny_network():
    torch.manual_seed(0)
    return build_stereo(TINY)


PREDICTORS = {
    name: load_predictor(network, dtype=torch.float32)
    for name, network in (("block matcher", BlockMatcher()), ("network", tiny_network()))
}


def pair_of(kind, size):
    """Left and right image in [0, 1], (H, W, 3)."""
    H, W = size
    rng = np.random.default_rng(0)
    scene = rng.random((H, W + 5, 3))
    left, right = scene[:, :W], scene[:, 5:]
    if kind in ("black", "white"):
        left = right = np.full((H, W, 3), float(kind == "white"))
    if kind == "stripes":  # every shift by a multiple of 4 px is a match
        left = right = np.broadcast_to((np.arange(W) % 4 < 2)[None, :, None], (H, W, 3)) * 1.0
    if kind == "swapped":
        left, right = right, left
    if kind == "strangers":
        right = rng.random((H, W, 3))
    return left, right


def as_given(image, dtype, grey):
    top = {"u": np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1, "f": 1}
    values = (image * top[np.dtype(dtype).kind]).astype(dtype)
    return values[..., 0] if grey else values


def check(found, size):
    for values in (found.disparity, found.occlusion, found.confidence):
        assert values.shape == size
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert (found.occlusion <= 1).all()
    assert (found.confidence <= 1).all()


@pytest.mark.parametrize("name", PREDICTORS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_pair_of_any_size_has_finite_maps_of_its_size(name, data):
    size = data.draw(SIDES), data.draw(SIDES)
    dtype, grey = data.draw(DTYPES), data.draw(st.booleans())
    left, right = (as_given(image, dtype, grey) for image in pair_of(data.draw(KINDS), size))
    options = {
        "long_side": data.draw(st.sampled_from([None, 1, 50])),
        "tile": data.draw(st.sampled_from([None, (64, 64), (64, 1000)])),
    }
    check(PREDICTORS[name].predict(left, right, **options), size)


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([np.float32, np.float64, np.uint8, np.int32, bool, object, complex]),
    st.sampled_from([0.0, 0.5, 2.0, np.nan, np.inf]),
)
def test_what_is_no_image_is_refused_in_one_line(shape, dtype, value):
    image = np.zeros(shape)
    image.flat[-1:] = value
    with np.errstate(all="ignore"):
        image = np.asarray(image if np.dtype(dtype).kind == "f" else np.nan_to_num(image))
        image = np.asarray(image.astype(dtype))
    try:
        found = PREDICTORS["block matcher"].predict(image, image)
    except REFUSED as error:
        refusal = str(error)
    else:
        check(found, image.shape[:2])
        return
    assert "\n" not in refusal
    assert "left" in refusal


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 3), (17, 33)])
def test_slivers_have_an_answer(name, size):
    check(PREDICTORS[name].predict(*pair_of("noise", size)), size)


def test_calls_do_not_know_of_each_other():
    ask = PREDICTORS["network"]
    pairs = [pair_of("noise", (40, 70)), pair_of("strangers", (33, 50))]
    alone = [ask.predict(*pair) for pair in pairs]
    again = list(ask.predict_many([*pairs, pairs[0]]))
    for found, want in zip(again, [*alone, alone[0]], strict=True):
        np.testing.assert_array_equal(found.disparity, want.disparity)


def test_bfloat16_agrees_with_float32():
    # Fresh weights match noise nowhere for sure, so ties fall differently in a few places; in the middle
    # the two differ by less than a quarter of a pixel.
    pair = pair_of("noise", (64, 96))
    exact = PREDICTORS["network"].predict(*pair)
    rough = load_predictor(tiny_network(), dtype=torch.bfloat16).predict(*pair)
    check(rough, (64, 96))
    assert np.median(np.abs(rough.disparity - exact.disparity)) < 0.25
    assert np.abs(rough.occlusion - exact.occlusion).max() < 0.1
    assert np.abs(rough.confidence - exact.confidence).max() < 0.1
