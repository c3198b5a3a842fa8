import numpy as np
import pytest
import torch

from data_scripts.stereo_layered import StereoLayeredSettings, stereo_layered_pair
from tests.data_scripts.pair_checks import smooth_photos
from tests.data_scripts.stereo_checks import (
    assert_same_pair,
    both_ways,
    colour_error,
    disparity_mismatch,
    hidden_colour_error,
)

PHOTOS = smooth_photos(4)
MATT = StereoLayeredSettings(gloss_share=0, paint_share=0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pair():
    assert_same_pair(*(stereo_layered_pair(PHOTOS, (64, 96), seeded(3)) for _ in range(2)))


def test_another_seed_gives_another_pair():
    first, second = (stereo_layered_pair(PHOTOS, (64, 96), seeded(seed)) for seed in (3, 4))
    assert (first.left - second.left).abs().mean() > 0.01


@pytest.mark.parametrize("size", [(64, 96), (57, 131), (90, 40)])
def test_the_right_image_at_the_disparity_looks_like_the_left(size):
    for seed in range(10):
        for pair in both_ways(stereo_layered_pair(PHOTOS, size, seeded(seed), MATT)):
            assert pair.left.shape == pair.right.shape == (3, *size)
            assert colour_error(pair) < 0.04  # thin things are all soft edge


def test_a_wrong_disparity_would_be_noticed():
    for seed in range(4):
        pair = stereo_layered_pair(PHOTOS, (64, 96), seeded(seed), MATT)
        wrong = pair.__class__(**{**pair.__dict__, "right": pair.right.roll(3, dims=2)})
        assert colour_error(wrong) > 1.5 * colour_error(pair)


def test_both_eyes_agree_about_disparity_where_both_see():
    for seed in range(12):
        for pair in both_ways(stereo_layered_pair(PHOTOS, (64, 96), seeded(seed))):
            apart = disparity_mismatch(pair)
            assert apart.median() < 0.01
            # the rest lies at the edges of layers, where neighbours show two of them
            assert (apart < 0.05).float().mean() > 0.9


def test_hidden_pixels_look_different_in_the_other_eye():
    pairs = [stereo_layered_pair(PHOTOS, (64, 96), seeded(seed), MATT) for seed in range(12)]
    ratios = [hidden_colour_error(pair) / colour_error(pair) for pair in pairs]
    assert np.nanmedian(ratios) > 4


def test_disparities_are_positive_and_as_large_as_asked():
    settings = StereoLayeredSettings(max_disp=30)
    pairs = [stereo_layered_pair(PHOTOS, (64, 128), seeded(seed), settings) for seed in range(30)]
    lows = np.array([pair.disp.min().item() for pair in pairs])
    highs = np.array([pair.disp.max().item() for pair in pairs])
    assert lows.min() >= 0
    assert lows.min() < 1
    assert highs.max() < 1.25 * 30
    assert (highs > 15).mean() > 0.2
    assert (highs < 15).mean() > 0.2


def test_some_of_every_left_image_is_seen_on_the_right_and_some_is_not():
    pairs = [stereo_layered_pair(PHOTOS, (64, 96), seeded(seed)) for seed in range(20)]
    hidden = [pair.occluded.float().mean().item() for pair in pairs]
    assert min(hidden) > 0
    assert max(hidden) < 0.6
    assert all(pair.known.all() for pair in pairs)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="max_disp must be more than 0"):
        StereoLayeredSettings(max_disp=0)
    with pytest.raises(ValueError, match="max_objects must be 0 or more"):
        StereoLayeredSettings(max_objects=-1)
