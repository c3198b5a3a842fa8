"""Plane homographies: applying them, how much they shrink, and random views of a flat texture.

A homography is a (3, 3) float64 array acting on (x, y, 1) in pixels, pixel centres at integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_scripts.images import Array

HORIZON_MARGIN = 0.2  # least denominator, relative to the centre: at 0 lies the horizon


@dataclass(frozen=True)
class PlaneView:
    """How a camera looks at a flat texture; see `view_of_plane`."""

    look_at: tuple[float, float]  # texture pixel in the centre of the image
    texel_per_px: float  # texture pixels per image pixel there
    tilt_deg: float = 0.0  # angle between the optical axis and the normal of the plane
    tilt_direction_deg: float = 0.0  # direction in the texture that recedes
    roll_deg: float = 0.0  # rotation of the camera about its axis
    fov_deg: float = 60.0  # along the longer side


def apply(H: Array, points: Array) -> Array:
    """Images of `points` (..., 2) under `H`; NaN for those on or behind the horizon."""
    x, y = points[..., 0], points[..., 1]
    w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
    inverse = 1 / np.where(w > 0, w, np.nan)
    there = np.empty(points.shape)
    there[..., 0] = (H[0, 0] * x + H[0, 1] * y + H[0, 2]) * inverse
    there[..., 1] = (H[1, 0] * x + H[1, 1] * y + H[1, 2]) * inverse
    return there


def apply_to_pixels(
    H: Array, part: tuple[slice, slice]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images x, y (rows, columns) under `H` of the pixels in `part` of an image; NaN as `apply`."""
    rows, columns = part
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    h = H.astype(np.float32)
    w = h[2, 0] * x + (h[2, 1] * y + h[2, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.where(w > 0, w, np.float32(np.nan))
        there_x = (h[0, 0] * x + (h[0, 1] * y + h[0, 2])) * inverse
        return there_x, (h[1, 0] * x + (h[1, 1] * y + h[1, 2])) * inverse


def translation(x: float, y: float) -> Array:
    """The homography that moves by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def about(centre: Array, linear: Array) -> Array:
    """The (2, 2) map `linear` applied about the point `centre` (2,)."""
    H = np.eye(3)
    H[:2, :2] = linear
    return translation(*centre) @ H @ translation(*-centre)


def turn(angle_deg: float) -> Array:
    """The (2, 2) rotation by `angle_deg`, x towards y."""
    angle = np.deg2rad(angle_deg)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def view_of_plane(view: PlaneView, size: tuple[int, int]) -> Array:
    """Homography from texture pixels to the pixels of an image of `size` (H, W)."""
    H, W = size
    focal = max(H, W) / 2 / np.tan(np.deg2rad(view.fov_deg) / 2)
    tilt = np.deg2rad(view.tilt_deg)
    along = turn(view.tilt_direction_deg)
    lean = np.diag([np.cos(tilt), 1.0, 1.0])
    lean[2, 0] = np.sin(tilt)  # a point of the plane along the direction lies further away
    to_camera = np.eye(3)
    to_camera[:2, :2] = turn(view.roll_deg) @ along
    from_texture = np.eye(3)
    from_texture[:2, :2] = along.T
    distance = focal * view.texel_per_px
    pose = to_camera @ lean @ from_texture
    pose[:, 2] = (0.0, 0.0, distance)
    K = np.array([[focal, 0.0, (W - 1) / 2], [0.0, focal, (H - 1) / 2], [0.0, 0.0, 1.0]])
    return positive_at(K @ pose @ translation(-view.look_at[0], -view.look_at[1]), view.look_at)


def positive_at(H: Array, point: tuple[float, float]) -> Array:
    """`H` scaled so that its denominator is 1 at `point`: positive means in front of the camera."""
    return np.asarray(H / (H[2] @ np.array([*point, 1.0])))


def invert(H: Array) -> Array:
    """The inverse of `H`, scaled as it comes."""
    return np.asarray(np.linalg.inv(H), np.float64)


def inverse(H: Array, size: tuple[int, int]) -> Array:
    """Inverse of `H` whose denominator is 1 at the centre of an image of `size` (H, W)."""
    return positive_at(invert(H), ((size[1] - 1) / 2, (size[0] - 1) / 2))


def clears_horizon(H: Array, size: tuple[int, int]) -> bool:
    """Whether an image of `size` (H, W) stays well on the near side of the horizon of `H`.

    `H` acts on the pixels of that image and has denominator 1 at its centre; where it maps to a
    plane the denominator is the inverse of the depth.
    """
    bottom, right = size[0] - 1.0, size[1] - 1.0
    return clears_horizon_at(H, np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]]))


def clears_horizon_at(H: Array, points: Array) -> bool:
    """Whether all `points` (P, 2) lie well on the near side of the horizon of `H`."""
    return bool((points @ H[2, :2] + H[2, 2]).min() > HORIZON_MARGIN)


def stretch(H: Array, points: Array) -> tuple[Array, Array]:
    """Longest and shortest length that a unit step at `points` (..., 2) takes under `H`."""
    x, y = points[..., 0], points[..., 1]
    w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
    u = (H[0, 0] * x + H[0, 1] * y + H[0, 2]) / w
    v = (H[1, 0] * x + H[1, 1] * y + H[1, 2]) / w
    ux, uy = (H[0, 0] - u * H[2, 0]) / w, (H[0, 1] - u * H[2, 1]) / w
    vx, vy = (H[1, 0] - v * H[2, 0]) / w, (H[1, 1] - v * H[2, 1]) / w
    return singular_values(ux, uy, vx, vy)


def singular_values(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """The larger and the smaller singular value of the matrices [[a, b], [c, d]]."""
    plus, minus = np.hypot(a + d, c - b), np.hypot(a - d, b + c)
    return (plus + minus) / 2, np.abs(plus - minus) / 2
