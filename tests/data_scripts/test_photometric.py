import numpy as np
import pytest
import torch

from data_scripts.photometric import PhotometricSettings, motion_kernel, photometric
from tests.data_scripts.pair_checks import smooth_photos

IMAGE = torch.from_numpy(smooth_photos(1, (64, 80))[0]).permute(2, 0, 1).float() / 255


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_result_is_an_image_of_the_same_shape_and_looks_different():
    for seed in range(20):
        changed = photometric(IMAGE, seeded(seed))
        assert changed.shape == IMAGE.shape
        assert changed.dtype == torch.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
    assert (changed - IMAGE).abs().mean() > 0.01


def test_the_same_seed_gives_the_same_change():
    torch.testing.assert_close(photometric(IMAGE, seeded(1)), photometric(IMAGE, seeded(1)))


def test_images_of_a_batch_are_changed_each_on_its_own(generator):
    changed = photometric(torch.stack([IMAGE, IMAGE]), generator)
    assert (changed[0] - changed[1]).abs().mean() > 0.01


def test_strength_zero_changes_nothing_beyond_8_bits(generator):
    changed = photometric(IMAGE, generator, PhotometricSettings(strength=0))
    torch.testing.assert_close(changed, IMAGE, rtol=0, atol=0.5 / 255)


def test_no_change_moves_the_picture():
    # a spot in the middle of a grey image: its centre of mass stays through blur and resizing
    spot = torch.full((3, 65, 65), 0.2)
    y, x = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    spot += 0.6 * torch.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 18)
    settings = PhotometricSettings(light_share=0, noise_share=0, jpeg_share=0, blur_share=1)
    for seed in range(12):
        grey = photometric(spot, seeded(seed), settings).mean(0)
        weight = (grey - grey[0, 0]).abs()
        centre = [(weight * axis).sum() / weight.sum() for axis in (x, y)]
        assert torch.tensor(centre).sub(32).abs().max() < 0.05


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 90.0, 135.0])
def test_motion_blur_is_a_mean_about_its_own_pixel(angle_deg):
    kernel = motion_kernel(2.3, angle_deg)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1])


def test_grey_images_are_refused_with_a_remedy(generator):
    with pytest.raises(ValueError, match="repeat the channel"):
        photometric(torch.zeros(1, 8, 8), generator)
