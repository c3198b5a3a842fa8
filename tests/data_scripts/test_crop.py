import torch

from data_scripts.crop import random_crop
from data_scripts.layered import layered_pair
from tests.matching.test_labels import shifted_view


def test_a_crop_of_a_shift_is_that_shift_less_the_corners(generator):
    view = shifted_view(8.0, 0.0, height=64, width=96)
    crop = random_crop(view, (32, 32), generator)
    step = crop.warp_0to1 - torch.stack(
        torch.meshgrid(torch.arange(32), torch.arange(32), indexing="xy"), -1
    )
    steps = step[crop.visible_0to1].unique(dim=0)
    assert len(steps) == 1
    assert crop.visible_0to1.float().mean() > 0.5
    back = crop.warp_1to0[crop.visible_1to0]
    assert ((back >= 0) & (back <= 31)).all()


def test_a_crop_still_shows_where_its_labels_say(generator):
    photo = torch.rand(1, 3, 12, 16, generator=generator)
    photo = torch.nn.functional.interpolate(photo, size=(240, 320), mode="bicubic").clamp(0, 1)
    pixels = (photo[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    crop = random_crop(layered_pair([pixels], (128, 160), generator), (64, 80), generator)
    seen = crop.visible_0to1.nonzero()
    there = crop.warp_0to1[seen[:, 0], seen[:, 1]].round().long()
    ours = crop.image0[:, seen[:, 0], seen[:, 1]]
    theirs = crop.image1[:, there[:, 1], there[:, 0]]
    assert len(seen) > 100
    assert (ours - theirs).abs().median() < 0.05


def test_a_smaller_image_is_padded_where_nothing_is_visible(generator):
    crop = random_crop(shifted_view(0.0, 0.0, height=16, width=16), (32, 48), generator)
    assert crop.image0.shape == (3, 32, 48)
    assert crop.visible_0to1[:16, :16].all()
    assert not crop.visible_0to1[16:].any()
    assert not crop.visible_0to1[:, 16:].any()


def test_a_pair_that_shares_nothing_gives_a_crop_that_shares_nothing(generator):
    crop = random_crop(shifted_view(500.0, 0.0), (16, 16), generator)
    assert not crop.visible_0to1.any()
