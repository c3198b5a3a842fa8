import torch

from attention_ops.quarter_trunk import QuarterTrunk
from attention_ops.slim_trunk import SlimTrunk


def test_map_is_a_quarter_of_the_image():
    trunk = QuarterTrunk((4, 6, 8, 10), (0, 1, 0, 1), channels=12)
    assert trunk(torch.rand(2, 1, 48, 32)).shape == (2, 12, 12, 8)


def test_stages_of_a_slim_trunk_fit():
    widths, blocks = (4, 6, 8, 10), (0, 1, 1, 1)
    slim = SlimTrunk(widths, blocks, coarse_channels=8, fine_channels=4)
    QuarterTrunk(widths, blocks, 12).stages.load_state_dict(slim.stages.state_dict())


def test_mirroring_a_cell_centred_grid_mirrors_where_cells_look():
    trunk = QuarterTrunk((4, 6, 8, 10), (0, 0, 0, 0), channels=3).eval()
    torch.manual_seed(0)
    image = torch.rand(1, 1, 64, 64)
    image.requires_grad_()
    trunk(image)[0, 0, 7].sum().backward()  # row 7 of 16 covers pixels 28..31
    mirrored = image.grad.clone()
    image.grad = None
    trunk(image)[0, 0, 8].sum().backward()  # row 8, its mirror image, covers 32..35
    seen, want = image.grad[0, 0].any(1).nonzero(), mirrored[0, 0].any(1).nonzero()
    torch.testing.assert_close(seen.min(), 63 - want.max())
    torch.testing.assert_close(seen.max(), 63 - want.min())
