import pytest
import torch

from stereo import photometric
from stereo.photometric import COLOUR_WEIGHT, difference, sampled, seen


def views(generator, B=2, H=7, W=13):
    return [seen(torch.rand(B, 3, H, W, generator=generator)) for _ in range(2)]


@pytest.mark.parametrize("size", [(7, 13), (1, 13), (7, 1), (1, 1), (2, 2)])
def test_the_loop_gives_what_the_operators_give(size, generator, monkeypatch):
    left, right = views(generator, 2, *size)
    disp = torch.rand(2, 1, *size, generator=generator) * 3 * size[1] - size[1]
    want = sampled(left, right, disp)
    monkeypatch.setattr(photometric, "sampled", lambda *_: pytest.fail("the loop is for this"))
    torch.testing.assert_close(difference(left, right, disp), want, atol=1e-5, rtol=1e-4)


def test_views_of_memory_are_read_rightly(generator):
    left, right = (x.to(memory_format=torch.channels_last) for x in views(generator))
    disp = (torch.rand(2, 1, 7, 26, generator=generator) * 9)[..., ::2]
    want = sampled(left, right, disp)
    torch.testing.assert_close(difference(left, right, disp), want, atol=1e-5, rtol=1e-4)


def test_by_hand_half_a_pixel_between_black_and_white():
    left, right = torch.zeros(2, 1, 5, 1, 3).unbind(0)
    right = right.clone()
    right[:, :3, 0, 0] = 0.1  # the left one of three pixels
    disp = torch.tensor([0.0, 0.5, 5.0]).view(1, 1, 1, 3)
    want = COLOUR_WEIGHT * torch.tensor([0.1, 0.05, 0.1]).view(1, 1, 1, 3)
    torch.testing.assert_close(difference(left, right, disp), want)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_no_disparity_reads_outside_of_the_image(wrong, generator):
    left, right = views(generator)
    found = difference(left, right, torch.full((2, 1, 7, 13), wrong))
    assert torch.isfinite(found).all()


def test_gradients_and_other_formats_go_through_the_operators(generator):
    left, right = views(generator)
    disp = torch.full((2, 1, 7, 13), 1.5, requires_grad=True)
    difference(left, right, disp).sum().backward()
    assert disp.grad.abs().sum() > 0
    wide = difference(left.double(), right.double(), disp.detach().double())
    assert wide.dtype is torch.float64
