"""Rays against surfaces: the exact depth that a camera sees, the picture, and quick coarse casts.

A ray meets a rectangle's plane where 1 / depth is linear in the pixel, so rectangles are cast in
closed form inside their projected outline; reliefs are marched (relief.py). The nearest wins, and
only what won is painted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts import cutouts, homography, mipmap, relief
from data_scripts.camera import Box, Camera, linear_map
from data_scripts.images import Array, FloatMap, Image
from data_scripts.lights import Lights, light_map
from data_scripts.surfaces import Surface

NEAR_M = 0.05
NOTHING = -1  # number of the surface where a ray meets none
SUBPIXEL_BITS = 4  # of the coordinates that OpenCV fills polygons with
# the furthest outline in px whose fixed-point coordinates do not overflow
FAR_PX = 1e4


@dataclass(frozen=True)
class Hits:
    """What the ray of each pixel meets first."""

    inverse_depth: FloatMap  # (H, W) 1 / metres along the axis; 0 where nothing is met
    number: NDArray[np.int16]  # (H, W) place in the list of surfaces, or NOTHING

    @property
    def depth(self) -> FloatMap:
        """(H, W) metres; 0 where nothing is met."""
        seen = self.inverse_depth > 0
        return np.where(seen, 1 / np.where(seen, self.inverse_depth, 1), 0).astype(np.float32)


def cast(surfaces: Sequence[Surface], camera: Camera) -> Hits:
    """The first hit of the rays through all pixel centres of `camera`."""
    hits = Hits(np.zeros(camera.size, np.float32), np.full(camera.size, NOTHING, np.int16))
    for number, surface in enumerate(surfaces):
        if surface.heights is not None:
            _cast_relief(hits, number, surface, camera)
        elif surface.two_sided or (camera.centre - surface.origin) @ surface.normal > 0:
            _cast_flat(hits, number, surface, camera)
    return hits


def _cast_flat(hits: Hits, number: int, surface: Surface, camera: Camera) -> None:
    outline = _outline(surface.corners, camera)
    box = cutouts.bounding_box(outline, camera.size) if len(outline) else None
    if box is None:
        return
    left, top, right, bottom = box
    # a pixel that the outline touches counts, so faces that share an edge leave no gap
    cover = np.zeros((bottom - top, right - left), np.uint8)
    fixed = np.round((outline - (left, top)) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillConvexPoly(cover, fixed, 1, shift=SUBPIXEL_BITS)
    inverse_depth = linear_map(np.linalg.inv(surface.to_image(camera))[2], box)
    _keep_nearest(hits, number, box, cover.view(bool), inverse_depth)


def _cast_relief(hits: Hits, number: int, surface: Surface, camera: Camera) -> None:
    top = relief.height_of(surface)
    if (camera.centre - surface.origin) @ surface.normal <= top + NEAR_M:
        return  # seen from behind or from within: it has no back
    lifted = surface.corners + top * surface.normal
    outline = np.concatenate([_outline(corners, camera) for corners in (surface.corners, lifted)])
    box = cutouts.bounding_box(outline, camera.size) if len(outline) else None
    if box is None:
        return
    depth = relief.cast(surface, camera, box)
    with np.errstate(invalid="ignore"):
        _keep_nearest(hits, number, box, depth > NEAR_M, np.float32(1) / depth)


def _keep_nearest(
    hits: Hits, number: int, box: Box, cover: NDArray[np.bool_], inverse_depth: FloatMap
) -> None:
    left, top, right, bottom = box
    here = np.s_[top:bottom, left:right]
    nearer = cover & (inverse_depth > hits.inverse_depth[here])
    np.copyto(hits.inverse_depth[here], inverse_depth, where=nearer)
    np.copyto(hits.number[here], np.int16(number), where=nearer)


def paint(
    surfaces: Sequence[Surface], camera: Camera, lights: Lights, hits: Hits, sky: Image
) -> Image:
    """The picture (H, W, 3) uint8 of what was hit, `sky` (H, W, 3) elsewhere; edges are soft."""
    image = sky.copy()
    light = np.ones((*camera.size, 2), np.float32)
    light[..., 1] = 0
    for number, surface in enumerate(surfaces):
        mine = hits.number == number
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        if not len(rows):
            continue
        box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        here = np.s_[box[1] : box[3], box[0] : box[2]]
        mask = mine[here].view(np.uint8)
        if surface.heights is None:
            texture = _flat_texture(surface, camera, box)
        else:
            texture = relief.texture(surface, camera, lights, box, hits.inverse_depth[here])
        cv2.copyTo(texture, mask, image[here])
        cv2.copyTo(light_map(surface, camera, lights, box), mask, light[here])
    lit = cv2.multiply(image, cv2.merge([light[..., 0]] * 3), dtype=cv2.CV_8U)
    if light[..., 1].any():
        lit = cv2.add(lit, cv2.merge([light[..., 1]] * 3), dtype=cv2.CV_8U)
    return _with_soft_edges(np.asarray(lit, np.uint8), hits.number)


def _flat_texture(surface: Surface, camera: Camera, box: Box) -> Image:
    from_image = np.linalg.inv(surface.to_image(camera)) @ homography.translation(*box[:2])
    size = box[3] - box[1], box[2] - box[0]
    return mipmap.render_plane(surface.levels, surface.to_texture() @ from_image, size)


def _with_soft_edges(image: Image, number: NDArray[np.int16]) -> Image:
    """`image` smoothed by a pixel on both sides of every border between surfaces."""
    edge = np.zeros(number.shape, bool)
    across, down = number[:, 1:] != number[:, :-1], number[1:] != number[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    smooth = np.asarray(cv2.GaussianBlur(image, (3, 3), 0.6), np.uint8)
    return np.where(edge[..., None], smooth, image)


def _outline(corners: Array, camera: Camera) -> Array:
    """The polygon (P, 2) px of world `corners` (4, 3), cut off near the camera and far outside."""
    points = corners @ camera.T_world_to_cam[:3, :3].T + camera.T_world_to_cam[:3, 3]
    points = _clip(points, points[:, 2] - NEAR_M)
    flat = _flat(points, camera)
    if np.abs(flat).max(initial=0.0) <= FAR_PX:
        return flat
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            points = _clip(points, FAR_PX * points[:, 2] - sign * (points @ camera.K[axis]))
    return _flat(points, camera)


def _flat(points: Array, camera: Camera) -> Array:
    """Pixels (P, 2) of `points` (P, 3) in the camera frame."""
    return points[:, :2] / points[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]


def _clip(points: Array, inside: Array) -> Array:
    """The polygon `points` (P, 3) cut to where `inside` (P,), linear in the points, is >= 0."""
    if (inside >= 0).all():
        return points
    kept = []
    for number, here in enumerate(points):
        following = (number + 1) % len(points)
        if inside[number] >= 0:
            kept.append(here)
        if (inside[number] >= 0) != (inside[following] >= 0):
            share = inside[number] / (inside[number] - inside[following])
            kept.append(here + share * (points[following] - here))
    return np.stack(kept) if kept else np.zeros((0, 3))


@dataclass(frozen=True)
class Rectangles:
    """All surfaces as flat rectangles in arrays, for casting single rays at all of them."""

    origin: Array  # (Q, 3)
    u: Array  # (Q, 3)
    v: Array  # (Q, 3)
    normal: Array  # (Q, 3)
    extent: Array  # (Q, 2) metres

    @classmethod
    def of(cls, surfaces: Sequence[Surface]) -> "Rectangles":
        """Those of `surfaces`; reliefs count as flat."""
        return cls(
            origin=np.stack([surface.origin for surface in surfaces]),
            u=np.stack([surface.u for surface in surfaces]),
            v=np.stack([surface.v for surface in surfaces]),
            normal=np.stack([surface.normal for surface in surfaces]),
            extent=np.array([surface.extent for surface in surfaces]),
        )


def cast_coarse(rectangles: Rectangles, camera: Camera, points: Array) -> Array:
    """Depth (P,) along the rays through pixels `points` (P, 2), inf for none.

    For choosing cameras, not for labels.
    """
    rays = camera.rays(points)  # (P, 3)
    offset = camera.centre - rectangles.origin  # (Q, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = -(offset * rectangles.normal).sum(-1) / (rays @ rectangles.normal.T)  # (P, Q)
        a = (offset * rectangles.u).sum(-1) + depth * (rays @ rectangles.u.T)
        b = (offset * rectangles.v).sum(-1) + depth * (rays @ rectangles.v.T)
        on_it = (a >= 0) & (a <= rectangles.extent[:, 0])
        on_it &= (b >= 0) & (b <= rectangles.extent[:, 1]) & (depth > NEAR_M)
    return np.asarray(np.where(on_it, depth, np.inf).min(-1))
