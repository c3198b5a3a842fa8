import pytest
import torch
from kornia.feature.loftr.backbone import build_backbone

from attention_ops.trunk import ResNetFPN


def small_trunk():
    return ResNetFPN((6, 10, 12), (2, 2, 2), coarse_channels=12, fine_channels=6).eval()


def kornia_trunk():
    config = {
        "backbone_type": "ResNetFPN",
        "resolution": (8, 2),
        "resnetfpn": {"initial_dim": 6, "block_dims": [6, 10, 12]},
    }
    return build_backbone(config).eval()


def randomise_norms(module, generator):
    for name, value in module.state_dict().items():
        if value.dim() == 1:
            noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(noise + (0.5 if name.endswith(("weight", "var")) else -0.5))


def test_trunk_equals_kornias_under_the_same_names(generator):
    ours, theirs = small_trunk().double(), kornia_trunk().double()
    randomise_norms(theirs, generator)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.rand(2, 1, 48, 40, generator=generator, dtype=torch.float64)
    for got, want in zip(ours(image), theirs(image), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "coarse", "fine"), [((32, 48), (4, 6), (16, 24)), ((9, 3), (2, 1), (5, 2))]
)
def test_maps_have_an_eighth_and_half_of_the_sides_rounded_up(size, coarse, fine):
    maps = ResNetFPN((4, 6, 8), (1, 1, 1), 10, 5).eval()(torch.zeros(2, 1, *size))
    assert [tuple(x.shape) for x in maps] == [(2, 10, *coarse), (2, 5, *fine)]


def test_channels_last_stays_and_changes_no_value(generator):
    trunk = small_trunk()
    image = torch.rand(2, 1, 32, 32, generator=generator)
    want = trunk(image)
    got = trunk.to(memory_format=torch.channels_last)(image)
    for last, first in zip(got, want, strict=True):
        assert last.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(last, first, rtol=1e-4, atol=1e-4)


def test_coarse_cell_6_sees_as_far_left_and_up_of_pixel_48_as_right_and_down():
    # One block a stage: 3 (7x7) + 2 * 2 (1/2) + 2 + 4 (1/4) + 4 + 8 (1/8) = 25 px to either side.
    trunk = ResNetFPN((2, 2, 2), (1, 1, 1), 2, 2).eval()
    for value in trunk.parameters():
        value.data.abs_()
    image = torch.ones(1, 1, 96, 96, requires_grad=True)
    trunk(image)[0][0, 0, 6, 6].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == [23, 73, 23, 73]


@pytest.mark.parametrize(("widths", "blocks"), [((4, 4), (1, 1)), ((4, 4, 4), (1, 0, 1))])
def test_wrong_number_of_stages_or_blocks_is_refused(widths, blocks):
    with pytest.raises(ValueError, match="three entries"):
        ResNetFPN(widths, blocks)
