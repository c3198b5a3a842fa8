import cv2
import numpy as np
import pytest

from stereo.opencv_style import StereoMatcher
from stereo.predictor import StereoPredictor
from tests.stereo.block_matcher import BlockMatcher

SHIFT = 9
SCENE = np.random.default_rng(0).integers(0, 256, (64, 160, 3), dtype=np.uint8)
LEFT, RIGHT = SCENE[:, :-SHIFT], SCENE[:, SHIFT:]


@pytest.fixture(scope="module")
def predictor():
    return StereoPredictor(BlockMatcher(), dtype=None)


def test_code_for_sgbm_gets_sixteen_times_the_disparity(predictor):
    for make in (
        lambda: cv2.StereoSGBM_create(minDisparity=0, numDisparities=32, blockSize=5),
        lambda: StereoMatcher(minDisparity=0, numDisparities=32, predictor=predictor),
    ):
        stereo = make()
        disparity = stereo.compute(LEFT, RIGHT)
        assert disparity.dtype == np.int16
        assert disparity.shape == LEFT.shape[:2]
        inner = disparity[8:-8, 48:-8].astype(np.float32) / 16.0
        assert np.median(inner) == SHIFT
        assert stereo.getNumDisparities() == 32
        assert stereo.getMinDisparity() == 0


def test_colours_are_those_of_opencv(predictor, monkeypatch):
    seen = []
    monkeypatch.setattr(predictor, "predict", lambda *images: seen.extend(images))
    with pytest.raises(AttributeError):
        StereoMatcher(predictor=predictor).compute(LEFT, RIGHT)
    np.testing.assert_array_equal(seen[0], LEFT[..., ::-1])


def test_what_lies_outside_the_range_is_unknown(predictor):
    assert (StereoMatcher(0, 5, predictor=predictor).compute(LEFT, RIGHT)[:, 40:-8] == -16).all()
    above = StereoMatcher(12, 16, predictor=predictor).compute(LEFT, RIGHT)
    assert (above[8:-8, 40:-8] == 11 * 16).all()
    unsure = StereoMatcher(predictor=predictor, min_confidence=1.0).compute(LEFT, 255 - RIGHT)
    assert (unsure == -16).mean() > 0.9


def test_a_given_array_is_filled(predictor):
    disparity = np.zeros(LEFT.shape[:2], np.int16)
    stereo = StereoMatcher(predictor=predictor)
    assert stereo.compute(LEFT, RIGHT, disparity) is disparity
    assert np.median(disparity) == 16 * SHIFT
    with pytest.raises(ValueError, match="disparity must be int16"):
        stereo.compute(LEFT, RIGHT, np.zeros((2, 2), np.int16))


@pytest.mark.parametrize("wrong", [LEFT.astype(float), "left.png", np.zeros((4, 4, 4), np.uint8)])
def test_wrong_images_are_told(predictor, wrong):
    with pytest.raises(ValueError, match="wanted a"):
        StereoMatcher(predictor=predictor).compute(wrong, RIGHT)


def test_wrong_ranges_are_told(predictor):
    for words in ((0, 0), (0, 5000), (9000, 16)):
        with pytest.raises(ValueError, match="Disparit"):
            StereoMatcher(*words, predictor=predictor)
    with pytest.raises(ValueError, match="min_confidence"):
        StereoMatcher(predictor=predictor, min_confidence=2)
