import pytest
import torch

from data_scripts.layered import LayeredSettings, layered_pair, unrelated_pair
from tests.data_scripts.pair_checks import (
    assert_same_pair,
    colour_error,
    round_trip_px,
    smooth_photos,
)

PHOTOS = smooth_photos(4)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pair():
    first, second = (layered_pair(PHOTOS, (64, 64), seeded(3)) for _ in range(2))
    assert_same_pair(first, second)


def test_another_seed_gives_another_pair():
    first, second = (layered_pair(PHOTOS, (64, 64), seeded(seed)) for seed in (3, 4))
    assert (first.image0 - second.image0).abs().mean() > 0.01


@pytest.mark.parametrize("size", [(64, 64), (57, 91), (120, 33)])
def test_image_1_at_the_warp_looks_like_image_0_at_any_size(size):
    for seed in range(6):
        pair = layered_pair(PHOTOS, size, seeded(seed))
        assert pair.image0.shape == (3, *size)
        assert pair.warp_0to1.shape == (*size, 2)
        assert colour_error(pair) < 0.04


def test_the_way_back_ends_at_the_start():
    for seed in range(8):
        pair = layered_pair(PHOTOS, (80, 96), seeded(seed))
        apart = round_trip_px(pair)
        # the nearest pixel counts at the edges of layers, bilinear labels elsewhere
        assert apart.median() < 0.02
        assert (apart < 0.1).float().mean() > 0.9


def test_visible_points_lie_inside_the_other_image():
    pair = layered_pair(PHOTOS, (60, 75), seeded(11))
    x, y = pair.warp_0to1[pair.visible_0to1].unbind(-1)
    assert x.min() >= 0
    assert x.max() <= 74
    assert y.min() >= 0
    assert y.max() <= 59


def test_nearly_every_pair_overlaps_as_asked():
    settings = LayeredSettings(max_cutouts=0, min_overlap=0.3)
    shares = [
        min(layered_pair(PHOTOS, (64, 64), seeded(seed), settings).visible_share)
        for seed in range(20)
    ]
    assert sum(share > 0.22 for share in shares) >= 18  # the overlap is judged on a coarse grid


def test_unrelated_pairs_show_two_photos_and_nothing_in_common(generator):
    pair = unrelated_pair(PHOTOS, (48, 64), generator)
    assert pair.visible_share == (0, 0)
    assert (pair.image0 - pair.image1).abs().mean() > 0.02


def test_unrelated_pairs_need_two_photos(generator):
    with pytest.raises(ValueError, match="at least 2 photos, got 1"):
        unrelated_pair(PHOTOS[:1], (48, 64), generator)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="max_tilt_deg must lie in"):
        LayeredSettings(max_tilt_deg=90)
