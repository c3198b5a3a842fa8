import numpy as np
import pytest
import torch

from data_scripts.stereo_scene import StereoSceneSettings, stereo_scene_pair
from tests.data_scripts.pair_checks import smooth_photos
from tests.data_scripts.stereo_checks import (
    assert_same_pair,
    both_ways,
    colour_error,
    disparity_mismatch,
    hidden_colour_error,
)

PHOTOS = smooth_photos(4, (128, 160), sigma=8.0)
MATT = StereoSceneSettings(gloss_share=0, paint_share=0, thin_share=0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pair():
    assert_same_pair(*(stereo_scene_pair(PHOTOS, (64, 96), seeded(3)) for _ in range(2)))


@pytest.mark.parametrize("size", [(64, 96), (57, 91)])
def test_the_right_image_at_the_disparity_looks_like_the_left(size):
    errors = []
    for seed in range(12):
        pairs = both_ways(stereo_scene_pair(PHOTOS, size, seeded(seed), MATT))
        errors += [colour_error(pair) for pair in pairs]
    assert np.median(errors) < 0.02
    assert max(errors) < 0.06  # some materials of the scenes are glossy


def test_both_eyes_agree_about_disparity_where_both_see():
    for seed in range(10):
        for pair in both_ways(stereo_scene_pair(PHOTOS, (64, 96), seeded(seed))):
            apart = disparity_mismatch(pair)
            assert apart.median() < 0.01
            assert (apart < 0.05).float().mean() > 0.8  # the rest lies at edges


def test_hidden_pixels_look_different_in_the_other_eye():
    pairs = [stereo_scene_pair(PHOTOS, (64, 96), seeded(seed), MATT) for seed in range(12)]
    ratios = [hidden_colour_error(pair) / colour_error(pair) for pair in pairs]
    assert np.nanmedian(ratios) > 3


def test_disparities_are_positive_and_reach_what_was_drawn():
    settings = StereoSceneSettings(max_disp=32)
    pairs = [stereo_scene_pair(PHOTOS, (48, 96), seeded(seed), settings) for seed in range(20)]
    highs = np.array([pair.disp.max().item() for pair in pairs])
    assert min(pair.disp.min().item() for pair in pairs) >= 0
    assert highs.max() <= 32.01
    assert (highs > 16).mean() > 0.2
    assert (highs < 16).mean() > 0.2


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="max_disp must be more than 0"):
        StereoSceneSettings(max_disp=-3)
