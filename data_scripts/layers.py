"""Flat textured layers, one over the other, seen in two images: pictures and exact motion.

Each layer has its own homography into either image. A layer number per pixel says which one is on
top, so the motion of every pixel and what covers it are exact both ways. Nothing random here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_scripts import cutouts, homography, mipmap
from data_scripts.images import Array, Image, to_tensor
from data_scripts.two_view import TwoView

Numbers = NDArray[np.int16]

MIXED = -1  # number of a 2 x 2 block of pixels that shows more than one layer


@dataclass(frozen=True)
class Layer:
    """One textured plane: where it lies in either image, and its outline."""

    texture: Image  # (Ht, Wt, 3)
    to_image0: Array  # (3, 3) texture pixels -> pixels of image 0, denominator > 0 in view
    to_image1: Array
    outline: Array | None = None  # (P, 2) texture pixels; None: the plane fills the image


def compose(layers: Sequence[Layer], size: tuple[int, int]) -> TwoView:
    """Both images of `size` (H, W); `layers` go from the back to the front, the first fills all.

    Visible means: inside the other image, on the same layer there with all four pixels around,
    and on the texture itself rather than on its mirror image beyond the border.
    """
    levels = [mipmap.pyramid(layer.texture) for layer in layers]
    image0, number0 = _render(layers, levels, [layer.to_image0 for layer in layers], size)
    image1, number1 = _render(layers, levels, [layer.to_image1 for layer in layers], size)
    ahead = [(layer.to_image0, layer.to_image1) for layer in layers]
    warp_0to1, visible_0to1 = _motion(layers, ahead, number0, number1)
    back = [(there, here) for here, there in ahead]
    warp_1to0, visible_1to0 = _motion(layers, back, number1, number0)
    return TwoView(
        image0=to_tensor(image0),
        image1=to_tensor(image1),
        warp_0to1=torch.from_numpy(warp_0to1),
        visible_0to1=torch.from_numpy(visible_0to1),
        warp_1to0=torch.from_numpy(warp_1to0),
        visible_1to0=torch.from_numpy(visible_1to0),
    )


def _render(
    layers: Sequence[Layer],
    levels: Sequence[list[Image]],
    to_image: Sequence[Array],
    size: tuple[int, int],
) -> tuple[Image, Numbers]:
    """One image (H, W, 3) and the number of the layer on top of each pixel (H, W)."""
    image = mipmap.render_plane(levels[0], homography.inverse(to_image[0], size), size)
    number = np.zeros(size, np.int16)
    for top in range(1, len(layers)):
        outline = layers[top].outline
        if outline is None:
            raise ValueError(f"layer {top} needs an outline: only the first may fill the image")
        in_image = homography.apply(to_image[top], outline)
        box = cutouts.bounding_box(in_image, size)
        if box is None:
            continue
        left, upper, right, lower = box
        part = (lower - upper, right - left)
        to_part = homography.translation(-left, -upper) @ to_image[top]
        colour = mipmap.render_plane(levels[top], homography.inverse(to_part, part), part)
        cover = cutouts.mask(in_image, box)
        here = np.s_[upper:lower, left:right]
        mixed = image[here] + cover[..., None] * (colour.astype(np.float32) - image[here])
        image[here] = np.round(mixed)
        number[here][cover >= 0.5] = top
    return image, number


def _motion(
    layers: Sequence[Layer],
    homographies: Sequence[tuple[Array, Array]],
    here: Numbers,
    there: Numbers,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Warp (H, W, 2) and visibility (H, W) from the image with layer numbers `here` to `there`.

    homographies: texture -> this image, texture -> other image of each layer.
    """
    size = here.shape[0], here.shape[1]
    warp = np.zeros((*size, 2), np.float32)
    visible = np.zeros(size, bool)
    blocks = _block_numbers(there)
    for number, (layer, (to_here, to_there)) in enumerate(zip(layers, homographies, strict=True)):
        on_top = here == number
        rows, columns = np.flatnonzero(on_top.any(1)), np.flatnonzero(on_top.any(0))
        if not len(rows):
            continue
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        to_texture = homography.inverse(to_here, size)
        x, y = homography.apply_to_pixels(to_there @ to_texture, part)
        ok = on_top[part] & _inside(x, y, size)
        if layer.outline is None:
            ok &= _inside(*homography.apply_to_pixels(to_texture, part), layer.texture.shape[:2])
        x, y = np.where(ok, x, 0), np.where(ok, y, 0)
        ok &= blocks.ravel()[y.astype(np.int32) * size[1] + x.astype(np.int32)] == number
        visible[part] |= ok
        np.copyto(warp[part][..., 0], x, where=ok)
        np.copyto(warp[part][..., 1], y, where=ok)
    return warp, visible


def _block_numbers(number: Numbers) -> Numbers:
    """Per pixel, the layer that it, its right, lower and lower right neighbour share, or MIXED."""
    padded = np.pad(number, ((0, 1), (0, 1)), mode="edge")
    same = (padded[:-1, 1:] == number) & (padded[1:, :-1] == number) & (padded[1:, 1:] == number)
    return np.where(same, number, np.int16(MIXED))


def inside(points: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether `points` (..., 2) lie between the outermost pixel centres of (H, W); NaN does not."""
    return _inside(points[..., 0], points[..., 1], size)


def _inside(
    x: NDArray[np.floating], y: NDArray[np.floating], size: tuple[int, ...]
) -> NDArray[np.bool_]:
    return np.asarray((x >= 0) & (x <= size[1] - 1) & (y >= 0) & (y <= size[0] - 1))
