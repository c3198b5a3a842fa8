"""Textured layers with a smooth disparity each, seen by two rectified eyes: pictures and labels.

A layer's disparity is a plane a x + b y + c over the left image plus, if wanted, a gentle relief.
Which left column a right pixel shows is then known in closed form (the relief by a fixed point), so
both images are rendered straight from the texture and the labels of both are exact. The layer with
the larger disparity is in front, pixel by pixel, so planes may cut through each other.
Nothing random here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data_scripts.camera import Box
from data_scripts.images import Array, FloatMap, Image, to_tensor
from data_scripts.rectified import RectifiedPair
from data_scripts.stereo_occlusion import occlusion

MAX_SLOPE = 0.5  # of the plane along x; at 1 the right eye would look along the surface
# of a relief along x, in px per px: the fixed point gains a digit every second step
MAX_RELIEF_SLOPE = 0.15
FIXED_POINT_STEPS = 7
NOTHING = -1


@dataclass(frozen=True)
class Highlight:
    """A soft spot of light that lies at another depth than the surface that reflects it."""

    centre: tuple[float, float]  # x, y in px of the left image
    radius_px: float
    strength: float  # 0..255
    disp: float  # px


@dataclass(frozen=True)
class DisparityLayer:
    """One textured surface; everything is given in pixels of the left image."""

    texture: Image  # (Ht, Wt, 3), about as fine as the image; mirrored beyond its border
    to_texture: Array  # (2, 3) affine map from left pixels to texture pixels
    plane: tuple[float, float, float]  # disparity a x + b y + c
    box: Box  # part of the left image plane that the layer covers; may leave the image
    cover: FloatMap | None = None  # (rows, columns) of the box in [0, 1]; None: all of it
    relief: FloatMap | None = None  # (rows, columns) of the box: px added to the plane
    highlight: Highlight | None = None

    def __post_init__(self) -> None:
        if abs(self.plane[0]) > MAX_SLOPE:
            raise ValueError(f"plane must rise by at most {MAX_SLOPE} along x, got {self.plane[0]}")
        left, top, right, bottom = self.box
        for name in ("cover", "relief"):
            value = getattr(self, name)
            if value is not None and value.shape != (bottom - top, right - left):
                raise ValueError(
                    f"{name} must be of its box {(bottom - top, right - left)}, got {value.shape}"
                )

    def disp_range(self) -> tuple[float, float]:
        """Bounds of the disparity over the box."""
        a, b, c = self.plane
        left, top, right, bottom = self.box
        corners = [a * x + b * y + c for x in (left, right - 1) for y in (top, bottom - 1)]
        low, high = (0.0, 0.0)
        if self.relief is not None:
            low, high = float(self.relief.min()), float(self.relief.max())
        return min(corners) + low, max(corners) + high


@dataclass(frozen=True)
class _View:
    image: Image  # (H, W, 3)
    disp: FloatMap  # (H, W)
    number: NDArray[np.int16]  # (H, W) of the layer in front


def gentle(relief: FloatMap) -> FloatMap:
    """`relief` (rows, columns) px, flattened if need be so that it can be a layer's relief."""
    steepest = float(np.abs(np.diff(relief, axis=1)).max(initial=0.0))
    return np.asarray(relief * np.float32(min(1.0, MAX_RELIEF_SLOPE / max(steepest, 1e-6))))


def compose_stereo(layers: Sequence[DisparityLayer], size: tuple[int, int]) -> RectifiedPair:
    """The pair of `size` (H, W) that shows `layers`, from the back to the front.

    The order only matters for soft edges. The first layer must fill both images.
    """
    left, right = (_render(layers, size, is_left) for is_left in (True, False))
    if min(left.number.min(), right.number.min()) == NOTHING:
        raise ValueError(
            "layers must fill both images, got holes; let the box of the first one reach from 0 to "
            "the width plus the largest disparity"
        )
    to_right = occlusion(left.disp, left.number, right.disp, right.number, sign=-1)
    to_left = occlusion(right.disp, right.number, left.disp, left.number, sign=1)
    known = torch.ones(size, dtype=torch.bool)
    return RectifiedPair(
        left=to_tensor(left.image),
        right=to_tensor(right.image),
        disp=torch.from_numpy(left.disp),
        known=known,
        occluded=torch.from_numpy(to_right),
        disp_right=torch.from_numpy(right.disp),
        known_right=known.clone(),
        occluded_right=torch.from_numpy(to_left),
    )


def _render(layers: Sequence[DisparityLayer], size: tuple[int, int], is_left: bool) -> _View:
    view = _View(
        np.zeros((*size, 3), np.uint8),
        np.full(size, -np.inf, np.float32),
        np.full(size, NOTHING, np.int16),
    )
    for number, layer in enumerate(layers):
        box = _box_in_view(layer, size, is_left)
        if box is not None:
            _draw(view, number, layer, box, is_left)
    return view


def _draw(view: _View, number: int, layer: DisparityLayer, box: Box, is_left: bool) -> None:
    """Puts the layer into `view` where it is in front; its soft edges only into the picture."""
    x_left, disp = _columns(layer, box, is_left)
    front = disp > view.disp[box[1] : box[3], box[0] : box[2]]
    rows = np.flatnonzero(front.any(1))
    if not len(rows):
        return
    # most of a ground or wall is hidden: no look-ups for rows without any of it
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    box = box[0], box[1] + part.start, box[2], box[1] + part.stop
    x_left, disp, front = x_left[part], disp[part], front[part]
    here = np.s_[box[1] : box[3], box[0] : box[2]]
    colour = _colour(layer, x_left, box, is_left)
    if layer.cover is None:
        cv2.copyTo(colour, front.view(np.uint8), view.image[here])
    else:
        alpha = front * _lookup(layer.cover, layer.box, x_left, box, cv2.BORDER_CONSTANT)
        behind = np.ascontiguousarray(view.image[here])
        view.image[here] = cv2.blendLinear(colour, behind, alpha, 1 - alpha)
        front = alpha >= 0.5
    np.copyto(view.disp[here], disp, where=front)
    np.copyto(view.number[here], np.int16(number), where=front)


def _box_in_view(layer: DisparityLayer, size: tuple[int, int], is_left: bool) -> Box | None:
    """The part of an image of `size` that may show the layer, None if it shows nothing of it."""
    left, top, right, bottom = layer.box
    if not is_left:
        low, high = layer.disp_range()
        left, right = int(np.floor(left - high)) - 1, int(np.ceil(right - low)) + 1
    box = max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
    return box if box[0] < box[2] and box[1] < box[3] else None


def _columns(layer: DisparityLayer, box: Box, is_left: bool) -> tuple[FloatMap, FloatMap]:
    """Left column and disparity (rows, columns) of the layer at the pixels of `box` of a view."""
    a, b, c = layer.plane
    x = np.arange(box[0], box[2], dtype=np.float32)[None]
    offset = (np.arange(box[1], box[3]) * b + c).astype(np.float32)[:, None]
    if is_left:
        disp = np.float32(a) * x + offset
        x_left = np.broadcast_to(x, disp.shape)
        if layer.relief is not None:
            disp = disp + _lookup(layer.relief, layer.box, x_left, box, cv2.BORDER_REPLICATE)
        return x_left, disp
    # x_left = x + disp(x_left) solved for x_left; 1 - a > 0
    stretch = np.float32(1 / (1 - a))
    flat = (x + offset) * stretch
    x_left = flat
    if layer.relief is not None:
        for _ in range(FIXED_POINT_STEPS):
            relief = _lookup(layer.relief, layer.box, x_left, box, cv2.BORDER_REPLICATE)
            x_left = flat + relief * stretch
    return x_left, x_left - x


def _lookup(field: FloatMap, of: Box, x_left: FloatMap, box: Box, border: int) -> FloatMap:
    """`field` over the box `of` at columns x_left (rows, columns) of the rows of `box`."""
    y = np.arange(box[1] - of[1], box[3] - of[1], dtype=np.float32)[:, None]
    y = np.ascontiguousarray(np.broadcast_to(y, x_left.shape))
    x = x_left - np.float32(of[0])
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=border), np.float32)


def _colour(layer: DisparityLayer, x_left: FloatMap, box: Box, is_left: bool) -> Image:
    """The layer's picture (rows, columns, 3) in `box` of a view."""
    (a, b, c), (d, e, f) = layer.to_texture.astype(np.float32)
    y = np.arange(box[1], box[3], dtype=np.float32)[:, None]
    x_texture, y_texture = a * x_left + (b * y + c), d * x_left + (e * y + f)
    colour = cv2.remap(
        layer.texture, x_texture, y_texture, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    light = layer.highlight
    if light is None:
        return np.asarray(colour, np.uint8)
    x_light = light.centre[0] - (0 if is_left else light.disp)
    across = np.exp(-(((np.arange(box[0], box[2]) - x_light) / light.radius_px) ** 2) / 2)
    down = np.exp(-(((y - light.centre[1]) / light.radius_px) ** 2) / 2)
    spot = (light.strength * down * across).astype(np.float32)
    return np.asarray(cv2.add(colour, cv2.merge([spot] * 3), dtype=cv2.CV_8U), np.uint8)
