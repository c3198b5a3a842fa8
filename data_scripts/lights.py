"""Light on surfaces: lamps with a diffuse term that stays and a highlight that moves with the eye."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_scripts.camera import Box, Camera
from data_scripts.images import Array, FloatMap
from data_scripts.surfaces import Surface

LIGHT_STEP = 20  # px; light is smooth over a rectangle


@dataclass(frozen=True)
class Lights:
    """Lamps over an even light."""

    positions: Array  # (N, 3) world metres
    strengths: Array  # (N,) at the reach
    reach_m: float  # distance at which a lamp has lost half of its light
    ambient: float
    sharpness: float = 20.0  # exponent of the highlights


def light_map(surface: Surface, camera: Camera, lights: Lights, box: Box) -> FloatMap:
    """Diffuse factor and highlight (0..255) of a rectangle over `box`: (rows, columns, 2)."""
    coarse = _light(surface, camera, lights, box)
    coarse[..., 1] *= 255 * surface.gloss
    size = box[2] - box[0], box[3] - box[1]
    return np.asarray(cv2.resize(coarse.astype(np.float32), size), np.float32)


def _light(surface: Surface, camera: Camera, lights: Lights, box: Box) -> Array:
    """Diffuse factor and highlight on a coarse grid over `box`: (rows, columns, 2)."""
    left, top, right, bottom = box
    columns, rows = (max(2, side // LIGHT_STEP + 2) for side in (right - left, bottom - top))
    pixels = np.ones((rows, columns, 3))
    pixels[..., 0] = left + np.arange(columns) * ((right - left - 1) / (columns - 1))
    pixels[..., 1] = top + np.arange(rows)[:, None] * ((bottom - top - 1) / (rows - 1))
    on_plane = pixels @ np.linalg.inv(surface.to_image(camera)).T
    depth = 1 / np.maximum(on_plane[..., 2:], 1e-3)
    points = surface.origin + (on_plane[..., :2] * depth) @ np.stack([surface.u, surface.v])
    to_camera = camera.centre - points
    to_camera /= _length(to_camera)
    facing = 1.0 if (camera.centre - surface.origin) @ surface.normal > 0 else -1.0
    shiny = surface.gloss > 0
    return illuminate(points, facing * surface.normal, to_camera if shiny else None, lights)


def illuminate(points: Array, normal: Array, to_camera: Array | None, lights: Lights) -> Array:
    """Lambert's diffuse factor and the highlight (Blinn 1977) at `points` (..., 3): (..., 2).

    to_camera: unit vectors (..., 3) to the eye; None for a dull surface, whose highlight is 0.
    """
    light = np.zeros((*points.shape[:-1], 2))
    light[..., 0] = lights.ambient
    for position, strength in zip(lights.positions, lights.strengths, strict=True):
        to_light = position - points
        distance = _length(to_light)
        to_light /= distance
        fall = strength / (1 + (distance[..., 0] / lights.reach_m) ** 2)
        light[..., 0] += fall * np.maximum(to_light @ normal, 0)
        if to_camera is None:
            continue
        half = to_light + to_camera
        half /= _length(half)
        light[..., 1] += fall * np.maximum(half @ normal, 0) ** lights.sharpness
    return light


def _length(vectors: Array) -> Array:
    squared = np.einsum("...i,...i->...", vectors, vectors)
    return np.asarray(np.sqrt(squared)[..., None] + 1e-9)
