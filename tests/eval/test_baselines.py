import cv2
import numpy as np
import pytest
from skimage.data import stereo_motorcycle

from eval.baselines import SiftMatcher


def test_sift_finds_a_shift_of_a_photo():
    image = stereo_motorcycle()[0][100:360, 200:520]
    matches = SiftMatcher().match(image[:, :-40], image[:, 40:])
    shift = matches.kpts0 - matches.kpts1 - (40, 0)
    assert len(matches) > 50
    assert np.median(np.linalg.norm(shift, axis=1)) < 0.1
    assert (np.diff(matches.confidence) <= 0).all()


@pytest.mark.parametrize("sides", [(1, 1), (40, 60)])
def test_images_without_texture_have_no_matches(sides):
    flat = np.full((*sides, 3), 128, np.uint8)
    matches = SiftMatcher().match(flat, flat)
    assert matches.kpts0.shape == matches.kpts1.shape == (0, 2)


def test_one_blob_is_too_few_for_a_ratio_test():
    image = np.zeros((80, 80, 3), np.uint8)
    cv2.circle(image, (40, 40), 9, (255, 255, 255), -1)
    assert len(SiftMatcher().match(image, np.zeros_like(image))) == 0


def test_ratio_must_be_a_share():
    with pytest.raises(ValueError, match="ratio must be in"):
        SiftMatcher(ratio=1.5)
