from dataclasses import replace

import pytest
import torch

from matching.config import PRESETS, MatcherConfig
from matching.model import build_matcher, standardised

TINY = replace(
    PRESETS["small"],
    trunk=replace(PRESETS["small"].trunk, widths=(8, 8, 16, 16), fine_channels=8),
    coarse=replace(PRESETS["small"].coarse, channels=16, heads=2, topk=(4, 4)),
    # fresh weights: more passes would only carry points out of the image
    fine=replace(PRESETS["small"].fine, iterations=2),
    threshold=0.0,
)


@pytest.fixture
def matcher():
    torch.manual_seed(0)
    return build_matcher(TINY).eval()


@torch.no_grad()
def test_swapping_the_images_swaps_the_cells(matcher, generator):
    image0 = torch.rand(1, 1, 64, 80, generator=generator)
    image1 = torch.rand(1, 1, 48, 64, generator=generator)
    ahead, back = matcher(image0, image1), matcher(image1, image0)
    assert len(ahead.pair) > 3
    ours = set(zip(ahead.cell0.tolist(), ahead.cell1.tolist(), strict=True))
    theirs = set(zip(back.cell1.tolist(), back.cell0.tolist(), strict=True))
    assert ours == theirs


@torch.no_grad()
def test_a_batch_gives_what_its_pairs_give(matcher, generator):
    images = torch.rand(2, 2, 1, 64, 64, generator=generator)
    together = matcher(images[0], images[1])
    for number in range(2):
        alone = matcher(images[0][number : number + 1], images[1][number : number + 1])
        mine = together.pair == number
        assert together.cell0[mine].tolist() == alone.cell0.tolist()
        torch.testing.assert_close(together.kpts1[mine], alone.kpts1, atol=1e-3, rtol=0)


@torch.no_grad()
def test_garbage_under_the_mask_changes_nothing(matcher, generator):
    image0, image1 = torch.rand(2, 1, 1, 64, 64, generator=generator)
    mask = torch.ones(1, 64, 64, dtype=torch.bool)
    mask[:, 40:] = mask[:, :, 48:] = False
    clean = matcher(image0.masked_fill(~mask[:, None], 0), image1, mask, None)
    noisy = matcher(image0.masked_fill(~mask[:, None], float("nan")), image1, mask, None)
    for name, value in vars(clean).items():
        torch.testing.assert_close(getattr(noisy, name), value, msg=name)
    assert (clean.kpts0[:, 1] < 40).all()
    assert (clean.kpts0[:, 0] < 48).all()


@torch.no_grad()
def test_key_points_of_image_0_are_the_middles_of_their_cells(matcher, generator):
    found = matcher(*torch.rand(2, 1, 1, 64, 64, generator=generator))
    assert set((found.kpts0 % 8).flatten().tolist()) == {3.5}
    assert found.cell0.tolist() == (found.kpts0 // 8 @ torch.tensor([1.0, 8.0])).long().tolist()


def test_standardised_images_have_mean_0_and_deviation_1_over_real_pixels(generator):
    image = torch.rand(2, 1, 8, 8, generator=generator)
    mask = torch.rand(2, 8, 8, generator=generator) > 0.3
    done = standardised(image, mask)
    for n in range(2):
        real = done[n, 0][mask[n]]
        assert abs(real.mean()) < 1e-6
        assert abs(real.std(correction=0) - 1) < 1e-2
        assert (done[n, 0][~mask[n]] == 0).all()
    assert torch.isfinite(standardised(torch.ones(1, 1, 8, 8), None)).all()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name):
    config = PRESETS[name]
    narrow = replace(config.coarse, channels=config.coarse.heads * 4, kinds=("self", "cross"))
    widths = tuple(8 for _ in config.trunk.widths)
    trunk = replace(config.trunk, widths=widths, fine_channels=8)
    build_matcher(replace(config, coarse=narrow, trunk=trunk))


def test_small_has_fewer_than_3_million_parameters():
    with torch.device("meta"):
        matcher = build_matcher(PRESETS["small"])
    assert sum(p.numel() for p in matcher.parameters()) < 3_000_000


def test_a_size_that_does_not_divide_is_refused_with_the_remedy(matcher):
    message = r"sides that are multiples of 16, got 60 x 64; pad it"
    with pytest.raises(ValueError, match=message):
        matcher(torch.zeros(1, 1, 60, 64), torch.zeros(1, 1, 64, 64))


def test_a_wrong_mask_is_refused(matcher):
    image = torch.zeros(1, 1, 64, 64)
    with pytest.raises(ValueError, match=r"mask must be bool \(1, 64, 64\), got torch.float32"):
        matcher.extract(image, torch.ones(1, 64, 64))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("threshold", 1.5, "threshold must be in"), ("border", -1, "border must be 0 or more")],
)
def test_wrong_settings_fail_when_they_are_made(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(MatcherConfig(), **{field: value})
