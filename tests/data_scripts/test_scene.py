import numpy as np
import pytest
import torch

from data_scripts.scene import SceneSettings, scene_pair
from tests.data_scripts.pair_checks import (
    assert_same_pair,
    colour_error,
    round_trip_px,
    smooth_photos,
)

PHOTOS = smooth_photos(4, (128, 160), sigma=8.0)
MATT = SceneSettings(relit_share=0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pair():
    assert_same_pair(*(scene_pair(PHOTOS, (64, 64), seeded(5)) for _ in range(2)))


@pytest.mark.parametrize("size", [(64, 64), (57, 90)])
def test_image_1_at_the_warp_looks_like_image_0(size):
    errors = [colour_error(scene_pair(PHOTOS, size, seeded(seed), MATT)) for seed in range(16)]
    assert np.median(errors) < 0.02
    assert max(errors) < 0.06  # highlights move, small surfaces are blurred at their edges


def test_a_wrong_warp_would_be_noticed():
    pair = scene_pair(PHOTOS, (64, 64), seeded(1), MATT)
    shifted = torch.roll(pair.image1, 6, dims=2)
    wrong = pair.__class__(**{**pair.__dict__, "image1": shifted})
    assert colour_error(wrong) > 1.5 * colour_error(pair)


def test_the_way_back_ends_at_the_start():
    for seed in range(6):
        apart = round_trip_px(scene_pair(PHOTOS, (72, 96), seeded(seed)))
        assert apart.median() < 0.02
        assert (apart < 0.1).float().mean() > 0.8  # thin strips are all border


def test_depth_and_pose_explain_the_warp():
    pair = scene_pair(PHOTOS, (64, 80), seeded(2))
    y, x = torch.nonzero(pair.visible_0to1, as_tuple=True)
    points = torch.stack([x, y, torch.ones_like(x)], -1).float() * pair.depth0[y, x][:, None]
    there = points @ pair.K0.inverse().mT @ pair.T_0to1[:3, :3].mT + pair.T_0to1[:3, 3]
    pixels = there @ pair.K1.mT
    want = pixels[:, :2] / pixels[:, 2:]
    torch.testing.assert_close(pair.warp_0to1[y, x], want, rtol=0, atol=2e-3)


def test_the_visible_share_is_mostly_what_was_asked():
    settings = SceneSettings(min_overlap=0.4, max_overlap=0.8)
    shares = [
        scene_pair(PHOTOS, (48, 48), seeded(seed), settings).visible_share for seed in range(10)
    ]
    assert sum(0.3 < min(share) < 0.9 for share in shares) >= 9  # judged on a coarse grid


def test_impossible_overlaps_are_refused():
    with pytest.raises(ValueError, match="increasing shares"):
        SceneSettings(min_overlap=0.9, max_overlap=0.5)
