"""Crops of a labelled pair, so that pairs of any size fill batches of one size."""

import torch
from torch import Tensor

from data_scripts.two_view import TwoView


def random_crop(view: TwoView, size: tuple[int, int], generator: torch.Generator) -> TwoView:
    """Crops of `size` (H, W) of both images that show the same part of the scene where they can.

    The middle of the crop of image 0 is a random visible point, that of image 1 where this point
    lies there. Images that are smaller are padded with zeros, where nothing is visible. Depths and
    poses are left out.
    """
    seen = view.visible_0to1.nonzero()  # (P, 2) row, column
    if len(seen):
        row, column = seen[int(torch.randint(len(seen), (), generator=generator))].tolist()
        there = view.warp_0to1[row, column].round().long().tolist()
        corner0 = _corner((column, row), size, view.image0)
        corner1 = _corner((there[0], there[1]), size, view.image1)
    else:
        corner0 = corner1 = (0, 0)
    ahead = _labels(view.warp_0to1, view.visible_0to1, size, corner0, corner1)
    back = _labels(view.warp_1to0, view.visible_1to0, size, corner1, corner0)
    return TwoView(
        image0=_window(view.image0, size, corner0),
        image1=_window(view.image1, size, corner1),
        warp_0to1=ahead[0],
        visible_0to1=ahead[1],
        warp_1to0=back[0],
        visible_1to0=back[1],
    )


def _corner(middle: tuple[int, int], size: tuple[int, int], image: Tensor) -> tuple[int, int]:
    """Top-left x, y of a crop of `size` (H, W) round `middle` (x, y), moved into the image."""
    H, W = image.shape[-2:]
    x, y = middle[0] - size[1] // 2, middle[1] - size[0] // 2
    return max(0, min(x, W - size[1])), max(0, min(y, H - size[0]))


def _window(values: Tensor, size: tuple[int, int], corner: tuple[int, int]) -> Tensor:
    """The window (..., H, W) of values (..., H0, W0), zeros beyond their edge."""
    x, y = corner
    part = values[..., y : y + size[0], x : x + size[1]]
    window = values.new_zeros(*values.shape[:-2], *size)
    window[..., : part.shape[-2], : part.shape[-1]] = part
    return window


def _labels(
    warp: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    from_corner: tuple[int, int],
    to_corner: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Warp (H, W, 2) and visibility (H, W) between two crops; `size` is that of both."""
    moved = _window(warp.permute(2, 0, 1), size, from_corner).permute(1, 2, 0)
    moved = moved - moved.new_tensor(to_corner)
    last = moved.new_tensor([size[1] - 1, size[0] - 1])
    seen = _window(visible, size, from_corner) & ((moved >= 0) & (moved <= last)).all(-1)
    return moved.masked_fill(~seen[..., None], 0.0), seen
