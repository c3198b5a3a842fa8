import pytest
import torch

from stereo.photometric import COLOUR_WEIGHT, difference, seen


def test_by_hand_half_a_pixel_between_black_and_white():
    left, right = torch.zeros(2, 1, 5, 1, 3).unbind(0)
    right = right.clone()
    right[:, :3, 0, 0] = 0.1  # the left one of three pixels
    disp = torch.tensor([0.0, 0.5, 5.0]).view(1, 1, 1, 3)
    want = COLOUR_WEIGHT * torch.tensor([0.1, 0.05, 0.1]).view(1, 1, 1, 3)
    torch.testing.assert_close(difference(left, right, disp), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_go_to_the_disparity(dtype, generator):
    left, right = (seen(torch.rand(2, 3, 7, 13, generator=generator)).to(dtype) for _ in range(2))
    disp = torch.full((2, 1, 7, 13), 1.5, dtype=dtype, requires_grad=True)
    found = difference(left, right, disp)
    assert found.dtype is dtype
    found.sum().backward()
    assert disp.grad.abs().sum() > 0
