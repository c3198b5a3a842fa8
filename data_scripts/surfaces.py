"""What scenes are made of: textured rectangles, boxes of six, and reliefs with a height map.

World frame: metres, y down. A rectangle is `origin + a * u + b * v` with a in [0, width] and b in
[0, height]; a relief rises from it along `u x v`, towards its front.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts.camera import Camera
from data_scripts.images import Array, Image


@dataclass(frozen=True)
class Surface:
    """A textured rectangle, flat or in relief."""

    origin: Array  # (3,) world metres
    u: Array  # (3,) unit vector along the width
    v: Array  # (3,) unit vector along the height, at right angles to u
    extent: tuple[float, float]  # width, height in metres
    levels: list[Image]  # texture pyramid, see mipmap
    texel_per_m: float
    texel_offset: tuple[float, float] = (0.0, 0.0)  # texture pixel at the origin; mirrored beyond
    gloss: float = 0.0  # share of light reflected as a highlight
    two_sided: bool = True  # False: seen from the front only, as the faces of a closed box
    heights: NDArray[np.float32] | None = None  # (h, w) relief: metres in front, 0 at the rim

    @cached_property
    def normal(self) -> Array:
        """Unit vector towards the front."""
        return np.cross(self.u, self.v)

    @cached_property
    def corners(self) -> Array:
        """The four corners in the world, in turn (4, 3)."""
        a, b = self.extent[0] * self.u, self.extent[1] * self.v
        return self.origin + np.stack([0 * a, a, a + b, b])

    def to_image(self, camera: Camera) -> Array:
        """(3, 3): metres a, b on the rectangle -> pixels, with the depth as the denominator."""
        R, t = camera.T_world_to_cam[:3, :3], camera.T_world_to_cam[:3, 3]
        return camera.K @ np.stack([R @ self.u, R @ self.v, R @ self.origin + t], -1)

    def to_texture(self) -> Array:
        """(3, 3) map from metres a, b on the rectangle to texture pixels."""
        scale = self.texel_per_m
        return np.array(
            [[scale, 0, self.texel_offset[0]], [0, scale, self.texel_offset[1]], [0, 0, 1.0]]
        )


@dataclass(frozen=True)
class Material:
    """A texture and how it is laid on surfaces."""

    levels: list[Image]
    texel_per_m: float
    gloss: float


def rectangle(
    origin: Array, edge_u: Array, edge_v: Array, material: Material, two_sided: bool = True
) -> Surface:
    """The rectangle from `origin` along two edges (3,) at right angles, metres."""
    width, height = float(np.linalg.norm(edge_u)), float(np.linalg.norm(edge_v))
    return Surface(
        origin=origin,
        u=edge_u / width,
        v=edge_v / height,
        extent=(width, height),
        levels=material.levels,
        texel_per_m=material.texel_per_m,
        gloss=material.gloss,
        two_sided=two_sided,
    )


def box(centre: Array, axes: Array, half: Array, materials: list[Material]) -> list[Surface]:
    """The six faces, fronts outwards, of a box with rows of `axes` (3, 3) as directions."""
    faces: list[Surface] = []
    for axis in range(3):
        edge_u, edge_v = np.roll(axes, -axis - 1, axis=0)[:2] * np.roll(half, -axis - 1)[:2, None]
        out = axes[axis] * half[axis]
        for sign in (1.0, -1.0):
            # u x v = axis direction; swapping u and v turns the front around
            first, second = (edge_u, edge_v) if sign > 0 else (edge_v, edge_u)
            origin = centre + sign * out - first - second
            material = materials[len(faces) % len(materials)]
            faces.append(rectangle(origin, 2 * first, 2 * second, material, two_sided=False))
    return faces


def random_heights(
    rng: np.random.Generator, height_m: float, side: int = 128
) -> NDArray[np.float32]:
    """Smooth random hills (side, side), from 0 at the rim up to `height_m`."""
    hills = np.zeros((side, side), np.float32)
    for cells in (3, 6, 12):
        rough = rng.random((cells + 3, cells + 3), dtype=np.float32) / np.float32(cells)
        hills += cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC)
    hills -= hills.min()
    hills *= np.float32(height_m) / max(float(hills.max()), 1e-6)
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.12 * side)
    window = np.clip(distance, 0, 1).astype(np.float32)
    window = window * window * (3 - 2 * window)
    return hills * window * window[:, None]
