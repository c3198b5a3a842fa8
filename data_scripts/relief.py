"""Reliefs: rays against a height map over a rectangle, marched from above and refined.

(Tatarchuk 2006, "Practical parallax occlusion mapping", marches the same way; here the crossing is
refined by false position until its error is far below a pixel, because it becomes a label.)
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts import homography, mipmap
from data_scripts.camera import Box, Camera, linear_map
from data_scripts.images import FloatMap, Image
from data_scripts.lights import Lights
from data_scripts.surfaces import Surface

MARCH_STEPS = 7
REFINE_STEPS = 3
SLOPE_LEVEL = 0.3  # octaves of blur for slopes, which the footprint on the base does not know


def height_of(surface: Surface) -> float:
    """The highest point above the base, metres."""
    return float(_heights(surface).max())


def cast(surface: Surface, camera: Camera, box: Box) -> FloatMap:
    """Depth where the rays of `box` meet the relief, (rows, columns) metres; NaN for none.

    The camera stands in front of the highest point.
    """
    heights = _heights(surface)
    start, ray_a, ray_b, ray_h = _rays_on_base(surface, camera, box)
    sinking = np.where(ray_h < -1e-6, ray_h, np.float32(np.nan))
    cell_a, cell_b = _cells_per_m(surface)

    def gap(depth: FloatMap) -> FloatMap:
        """Height of the ray above the relief at `depth`, metres."""
        x, y = (start[0] + depth * ray_a) * cell_a, (start[1] + depth * ray_b) * cell_b
        ground = cv2.remap(heights, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(start[2] + depth * ray_h - ground, np.float32)

    depth = _first_crossing(gap, (heights.max() - start[2]) / sinking, -start[2] / sinking)
    a, b = start[0] + depth * ray_a, start[1] + depth * ray_b
    with np.errstate(invalid="ignore"):
        on_it = (a >= 0) & (a <= surface.extent[0]) & (b >= 0) & (b <= surface.extent[1])
    return np.where(on_it, depth, np.float32(np.nan))


def _rays_on_base(
    surface: Surface, camera: Camera, box: Box
) -> tuple[NDArray[np.float32], FloatMap, FloatMap, FloatMap]:
    """Camera centre (3,) and rays of unit depth as maps, in metres a, b on the base and height."""
    frame = np.stack([surface.u, surface.v, surface.normal])  # world -> a, b, height
    start = (frame @ (camera.centre - surface.origin)).astype(np.float32)
    to_world = camera.T_world_to_cam[:3, :3].T @ np.linalg.inv(camera.K)
    ray_a, ray_b, ray_h = (linear_map(row, box) for row in frame @ to_world)
    return start, ray_a, ray_b, ray_h


def _cells_per_m(surface: Surface) -> tuple[np.float32, np.float32]:
    rows, columns = _heights(surface).shape
    return (
        np.float32((columns - 1) / surface.extent[0]),
        np.float32((rows - 1) / surface.extent[1]),
    )


def _first_crossing(gap: Callable[[FloatMap], FloatMap], near: FloatMap, far: FloatMap) -> FloatMap:
    """The first depth between `near` and `far` where `gap` falls to zero."""
    over, under = near, far.copy()
    gap_over, gap_under = gap(near), np.full_like(near, np.nan)
    open_ = np.ones(near.shape, bool)
    for step in range(1, MARCH_STEPS + 1):
        depth = near + np.float32(step / MARCH_STEPS) * (far - near)
        here = gap(depth)
        # rounding may leave the last step a hair above the base
        below = open_ & ((here <= 0) | (step == MARCH_STEPS))
        under, gap_under = np.where(below, depth, under), np.where(below, here, gap_under)
        open_ &= ~below
        over, gap_over = np.where(open_, depth, over), np.where(open_, here, gap_over)
        if not open_.any():
            break
    for step in range(REFINE_STEPS):
        # false position, with a bisection between so that neither end is stuck
        share = gap_over / np.maximum(gap_over - gap_under, 1e-9)
        share = np.clip(share, 0, 1) if step != 1 else np.float32(0.5)
        depth = (over + share * (under - over)).astype(np.float32)
        here = gap(depth)
        below = here <= 0
        under, gap_under = np.where(below, depth, under), np.where(below, here, gap_under)
        over, gap_over = np.where(below, over, depth), np.where(below, gap_over, here)
    share = np.clip(gap_over / np.maximum(gap_over - gap_under, 1e-9), 0, 1)
    return np.asarray(over + share * (under - over), np.float32)


def texture(
    surface: Surface, camera: Camera, lights: Lights, box: Box, inverse_depth: FloatMap
) -> Image:
    """Texture (rows, columns, 3) at the hits of `box`, darker on slopes that face off the light."""
    start, ray_a, ray_b, _ = _rays_on_base(surface, camera, box)
    depth = 1 / np.maximum(inverse_depth, np.float32(1e-3))
    a, b = start[0] + depth * ray_a, start[1] + depth * ray_b
    scale = np.float32(surface.texel_per_m)
    x = a * scale + np.float32(surface.texel_offset[0])
    y = b * scale + np.float32(surface.texel_offset[1])
    colour = mipmap.sample(surface.levels, x, y, _footprint_level(surface, camera, box))
    cell_a, cell_b = _cells_per_m(surface)
    slopes = _slope_light(surface, lights)
    light = cv2.remap(
        slopes, a * cell_a, b * cell_b, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.multiply(colour, cv2.merge([light] * 3), dtype=cv2.CV_8U), np.uint8)


def _footprint_level(surface: Surface, camera: Camera, box: Box) -> FloatMap:
    left, top, right, bottom = box
    to_texture = surface.to_texture() @ np.linalg.inv(surface.to_image(camera))
    x, y = np.linspace(left, right - 1, 9), np.linspace(top, bottom - 1, 9)
    longest, shortest = homography.stretch(to_texture, np.stack(np.meshgrid(x, y), -1))
    # between the two, as no sample is spent on anisotropy here
    footprint = np.sqrt(longest * np.maximum(shortest, longest / 4))
    level = np.log2(np.clip(footprint, 2.0**-10, 2.0**10)) + SLOPE_LEVEL
    full = cv2.resize(level.astype(np.float32), (right - left, bottom - top))
    return np.asarray(full, np.float32)


def _slope_light(surface: Surface, lights: Lights) -> FloatMap:
    """Light on every cell of the relief by its slope, relative to its flat base."""
    heights = _heights(surface)
    rise_b, rise_a = np.gradient(
        heights, surface.extent[1] / heights.shape[0], surface.extent[0] / heights.shape[1]
    )
    to_lamp = lights.positions[lights.strengths.argmax()] - surface.corners.mean(0)
    towards = np.stack([surface.u, surface.v, surface.normal]) @ (to_lamp / np.linalg.norm(to_lamp))
    facing = -rise_a * towards[0] - rise_b * towards[1] + max(towards[2], 0.3)
    facing = facing / np.sqrt(1 + rise_a**2 + rise_b**2) / max(towards[2], 0.3)
    return np.asarray(np.clip(0.3 + 0.7 * facing, 0.15, 1.5), np.float32)


def _heights(surface: Surface) -> FloatMap:
    if surface.heights is None:
        raise ValueError("a relief needs a height map, got a flat surface; set Surface.heights")
    return surface.heights
