"""Pinhole cameras: where they stand, what they look at, rays and projections.

Frames are x right, y down, z forward; `T_world_to_cam` maps world metres to camera metres.
"""

from dataclasses import dataclass

import numpy as np

from data_scripts.images import Array, FloatMap

Box = tuple[int, int, int, int]  # part of an image: left, top, right, bottom, ends excluded


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with its image size."""

    K: Array  # (3, 3) pixels
    T_world_to_cam: Array  # (4, 4) metres
    size: tuple[int, int]  # (H, W)

    @property
    def centre(self) -> Array:
        """Position in the world (3,)."""
        return -self.T_world_to_cam[:3, :3].T @ self.T_world_to_cam[:3, 3]

    def rays(self, points: Array) -> Array:
        """World directions (..., 3) through `points` (..., 2) px, of length 1 along the axis."""
        inverse = np.linalg.inv(self.K)
        in_camera = points @ inverse[:2, :2].T + inverse[:2, 2]
        return np.asarray(in_camera @ self.T_world_to_cam[:2, :3] + self.T_world_to_cam[2, :3])

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (..., 2) and depths (...) of world `points` (..., 3); NaN behind the camera."""
        in_camera = points @ self.T_world_to_cam[:3, :3].T + self.T_world_to_cam[:3, 3]
        depth = in_camera[..., 2]
        flat = in_camera[..., :2] / np.where(depth > 0, depth, np.nan)[..., None]
        return flat @ self.K[:2, :2].T + self.K[:2, 2], depth


def intrinsics(fov_deg: float, size: tuple[int, int]) -> Array:
    """K (3, 3) of square pixels with `fov_deg` along the longer side of (H, W), centred."""
    H, W = size
    focal = max(H, W) / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    return np.array([[focal, 0.0, (W - 1) / 2], [0.0, focal, (H - 1) / 2], [0.0, 0.0, 1.0]])


def look_at(position: Array, target: Array, roll_deg: float = 0.0) -> Array:
    """T_world_to_cam (4, 4) at `position` (3,) facing `target`, y down but for the roll."""
    forward = (target - position) / np.linalg.norm(target - position)
    down = np.array([0.0, 1.0, 0.0])
    if abs(forward @ down) > 0.99:  # straight up or down: any horizontal direction will do
        down = np.array([0.0, 0.0, 1.0])
    right = np.cross(down, forward)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    angle = np.deg2rad(roll_deg)
    roll = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    T = np.eye(4)
    T[:3, :3] = roll @ R
    T[:3, 3] = -T[:3, :3] @ position
    return T


def linear_map(row: Array, box: Box) -> FloatMap:
    """`row` (3,) times (x, y, 1) for every pixel of `box`: (rows, columns)."""
    left, top, right, bottom = box
    x = np.arange(left, right) * row[0]
    y = np.arange(top, bottom) * row[1] + row[2]
    return np.asarray(np.add(x[None], y[:, None], dtype=np.float32))
