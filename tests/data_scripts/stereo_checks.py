"""What every generated rectified pair must satisfy."""

import torch
import torch.nn.functional as F

from data_scripts.rectified import RectifiedPair, flipped_and_swapped


def warped_right(pair):
    """The right image (3, H, W) at the places of the left pixels."""
    H, W = pair.disp.shape
    x = torch.arange(W) - pair.disp
    y = torch.arange(H)[:, None].expand(H, W).float()
    grid = torch.stack([2 * x / (W - 1) - 1, 2 * y / (H - 1) - 1], -1)
    return F.grid_sample(pair.right[None], grid[None], align_corners=True)[0]


def colour_error(pair):
    """Mean absolute difference between the left and the warped right image, where both see."""
    seen = pair.known & ~pair.occluded
    return (warped_right(pair) - pair.left).abs().mean(0)[seen].mean().item()


def hidden_colour_error(pair):
    """The same where the labels say that the right image shows something else."""
    hidden = pair.occluded & (torch.arange(pair.disp.shape[1]) - pair.disp >= 0)
    return (warped_right(pair) - pair.left).abs().mean(0)[hidden].mean().item()


def disparity_mismatch(pair):
    """|disp - disp_right there| (N,) px of the visible left pixels, right labels interpolated."""
    W = pair.disp.shape[1]
    x = torch.arange(W) - pair.disp
    below = x.floor().clamp(0, W - 1).long()
    above = (below + 1).clamp(max=W - 1)
    share = x - below
    there = pair.disp_right.gather(1, below) * (1 - share)
    there = there + pair.disp_right.gather(1, above) * share
    return (there - pair.disp).abs()[~pair.occluded]


def both_ways(pair):
    """The pair and its mirror image with exchanged eyes: what holds for one holds for the other."""
    return pair, flipped_and_swapped(pair)


def labels(pair):
    """All tensors of a pair by name."""
    return {name: getattr(pair, name) for name in RectifiedPair.__dataclass_fields__}


def assert_same_pair(first, second):
    for name, value in labels(first).items():
        torch.testing.assert_close(value, labels(second)[name], rtol=0, atol=0)
