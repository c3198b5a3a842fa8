import pytest
import torch
from torch import nn

from stereo.context import ContextAdjustment, WeightNormConv


@pytest.fixture
def context():
    torch.manual_seed(0)
    return ContextAdjustment(blocks=2).double()


def random_maps(generator, batch=1):
    shapes = (batch, 9, 11), (batch, 9, 11), (batch, 3, 9, 11)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_the_convolution_is_torchs_weight_norm(generator):
    torch.manual_seed(0)
    ours = WeightNormConv(3, 5)
    theirs = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 5, 3, padding=1))
    ours.weight_g.data *= 1.5
    theirs.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    x = torch.randn(2, 3, 6, 7, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_disparity_branch_works_whatever_the_unit_and_the_offset(generator, context):
    disparity, occlusion, image = random_maps(generator)
    adjusted, probability = context(disparity, occlusion, image)
    scaled, same = context(40 * disparity + 7, occlusion, image)
    torch.testing.assert_close(scaled, 40 * adjusted + 7, rtol=1e-4, atol=1e-4)
    assert torch.equal(same, probability)


def test_without_a_correction_the_disparity_stays(generator, context):
    context.out_conv.weight.data.zero_()
    context.out_conv.bias.data.zero_()
    disparity, occlusion, image = random_maps(generator)
    torch.testing.assert_close(context(disparity, occlusion, image)[0], disparity)


def test_both_branches_see_the_image_and_their_own_map_only(generator, context):
    leaves = [x.requires_grad_() for x in random_maps(generator)]
    adjusted, probability = context(*leaves)
    for result, seen in ((adjusted, [True, False, True]), (probability, [False, True, True])):
        gradients = torch.autograd.grad(result.square().sum(), leaves, allow_unused=True)
        assert [gradient is not None for gradient in gradients] == seen


def test_occlusion_is_a_probability(generator, context):
    _, occlusion = context(*random_maps(generator))
    assert ((occlusion > 0) & (occlusion < 1)).all()


def test_a_batch_gives_what_its_entries_give(generator, context):
    maps = random_maps(generator, batch=3)
    maps[0] *= torch.tensor([1.0, 5.0, 25.0], dtype=torch.float64)[:, None, None]
    singles = [context(*(x[i : i + 1] for x in maps)) for i in range(3)]
    for got, want in zip(context(*maps), zip(*singles, strict=True), strict=True):
        torch.testing.assert_close(got, torch.cat(want))


def test_a_flat_disparity_map_gives_finite_numbers_and_gradients(generator, context):
    _, occlusion, image = random_maps(generator)
    disparity = torch.full_like(occlusion, 3.0).requires_grad_()
    adjusted, _ = context(disparity, occlusion, image)
    adjusted.sum().backward()
    assert adjusted.isfinite().all()
    assert disparity.grad.isfinite().all()
