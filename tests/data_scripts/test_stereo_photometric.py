from dataclasses import replace

import numpy as np
import pytest
import torch

from data_scripts.images import to_tensor
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_photometric import StereoPhotometricSettings, stereo_photometric
from tests.data_scripts.pair_checks import smooth_photos
from tests.data_scripts.stereo_checks import assert_same_pair, labels

NOTHING = StereoPhotometricSettings(
    common_share=0, grey_share=0, between=0, tilt_share=0, erase_share=0
)
PHOTO = smooth_photos(1, (80, 120))[0]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def same_image_twice():
    image = to_tensor(PHOTO)
    flat = torch.zeros(80, 120)
    return RectifiedPair(image, image.clone(), flat, flat == 0, flat > 0)


def changed(seed, **settings):
    return stereo_photometric(same_image_twice(), seeded(seed), replace(NOTHING, **settings))


def test_the_same_seed_gives_the_same_looks():
    assert_same_pair(*(stereo_photometric(same_image_twice(), seeded(1)) for _ in range(2)))


def test_labels_stay_and_images_stay_in_range():
    before = labels(same_image_twice())
    for seed in range(20):
        after = labels(stereo_photometric(same_image_twice(), seeded(seed)))
        for name in ("disp", "known", "occluded"):
            assert torch.equal(before[name], after[name])
        assert after["right"].shape == (3, 80, 120)
        assert min(after["left"].min(), after["right"].min()) >= 0
        assert max(after["left"].max(), after["right"].max()) <= 1


def test_everything_off_changes_nothing():
    pair = changed(0)
    torch.testing.assert_close(pair.left, same_image_twice().left, rtol=0, atol=0.5 / 255)
    torch.testing.assert_close(pair.right, pair.left)


def test_the_common_change_is_the_same_in_both_eyes():
    pairs = [changed(seed, common_share=1.0) for seed in range(8)]
    assert all(torch.equal(pair.left, pair.right) for pair in pairs)
    moved = [(pair.left - same_image_twice().left).abs().mean() for pair in pairs]
    assert np.median(moved) > 0.03


def test_the_change_between_the_eyes_is_there_but_smaller_than_the_common_one():
    apart = [changed(seed, between=0.25) for seed in range(16)]
    apart = [(pair.left - pair.right).abs().mean().item() for pair in apart]
    assert 0.005 < np.median(apart) < 0.08


def test_grey_pairs_have_three_equal_channels():
    pair = changed(0, grey_share=1.0)
    assert torch.equal(pair.right[0], pair.right[2])


def test_only_the_right_image_leaves_its_rows_and_by_no_more_than_asked():
    for seed in range(6):
        pair = changed(seed, tilt_share=1.0, max_roll_deg=0.0)
        torch.testing.assert_close(pair.left, same_image_twice().left, rtol=0, atol=0.5 / 255)
        up, level, down = (
            (pair.right[:, 10:70] - pair.left[:, 10 + step : 70 + step]).abs().mean()
            for step in (-2, 0, 2)
        )
        assert level < max(up, down)
        assert 0 < level < 0.05


def test_erased_patches_show_the_mean_colour_of_the_right_image():
    pair = changed(3, erase_share=1.0, max_erased_px=30)
    assert torch.equal(pair.left, changed(3).left)
    patch = (pair.right != pair.left).any(0)
    assert 0 < patch.float().mean() < 0.3
    mean = same_image_twice().right.mean((1, 2))
    torch.testing.assert_close(
        pair.right[:, patch], mean[:, None].expand(3, int(patch.sum())), rtol=0, atol=1 / 255
    )


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="between must be 0 or more"):
        StereoPhotometricSettings(between=-1)
