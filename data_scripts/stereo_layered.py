"""Rectified pairs from photographs: slanted, curved and cut-out layers of random disparity."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from data_scripts.camera import Box
from data_scripts.disparity_layers import DisparityLayer, Highlight, compose_stereo, gentle
from data_scripts.homography import turn
from data_scripts.images import Array, FloatMap, Image, resized
from data_scripts.layered import numpy_generator, pick_photo
from data_scripts.rectified import RectifiedPair, random_largest_disp
from data_scripts.silhouettes import bar, random_silhouette

FINEST = 1.4  # texture pixels per image pixel above which a texture is shrunk, or it would alias
# disparity per row, of a wall rather than of the ground
BARE_SLOPE = 0.05
Plane = tuple[float, float, float]


@dataclass(frozen=True)
class StereoLayeredSettings:
    """What the pairs are made of; shares in [0, 1]."""

    max_disp: float | None = None  # px, most that is drawn; None: see random_largest_disp
    max_objects: int = 12
    paint_share: float = 0.12  # of the surfaces are almost without texture
    relief_share: float = 0.45  # of the surfaces are curved
    gloss_share: float = 0.12  # of the surfaces show a highlight
    same_photo_share: float = 0.25  # of the objects look like the background

    def __post_init__(self) -> None:
        if self.max_disp is not None and self.max_disp <= 0:
            raise ValueError(f"max_disp must be more than 0 px, got {self.max_disp}")
        if self.max_objects < 0:
            raise ValueError(f"max_objects must be 0 or more, got {self.max_objects}")


def stereo_layered_pair(
    photos: Sequence[Image],
    size: tuple[int, int],
    generator: torch.Generator,
    settings: StereoLayeredSettings | None = None,
) -> RectifiedPair:
    """A random rectified pair made of photos on slanted and curved layers.

    Args:
        photos: (H, W, 3) uint8 each.
        size: H, W of both images.
        generator: draws everything; the same state gives the same pair.
        settings: the defaults where None.
    """
    settings = settings or StereoLayeredSettings()
    rng = numpy_generator(generator)
    largest = random_largest_disp(size[1], settings.max_disp, rng)
    photo = pick_photo(photos, rng)
    planes = _background_planes(size, largest, rng)
    reach = max(_plane_range(plane, (0, 0, size[1], size[0]))[1] for plane in planes)
    whole = (0, 0, size[1] + int(np.ceil(1.3 * reach)) + 2, size[0])
    layers = [
        _background(pick_photo(photos, rng) if number else photo, plane, whole, rng, settings)
        for number, plane in enumerate(planes)
    ]
    objects = []
    for _ in range(round(settings.max_objects * rng.random())):
        texture = photo if rng.random() < settings.same_photo_share else pick_photo(photos, rng)
        objects.append(_object(texture, planes, size, largest, rng, settings))
    objects.sort(key=lambda layer: sum(layer.disp_range()))
    return compose_stereo(layers + objects, size)


def _background_planes(
    size: tuple[int, int], largest: float, rng: np.random.Generator
) -> list[Plane]:
    """Disparity planes over the image: a wall, and at times ground, side walls, a ceiling."""
    H, W = size
    far = largest * rng.uniform(0, 0.5) ** 1.5 if rng.random() < 0.8 else largest * rng.random()
    kind = rng.choice(["wall", "ground", "corridor"], p=[0.3, 0.4, 0.3])
    # the wall may lean, but never to behind infinity
    room = min(far, largest - far) if kind == "wall" else 0.5 * min(far, largest - far)
    lean = rng.uniform(-1, 1, 2) * rng.random() * room
    a, b = lean[0] / W, lean[1] / H
    wall = (float(a), float(b), float(far - a * W / 2 - b * H / 2))
    planes = [wall]
    if kind == "wall":
        return planes
    rise = largest * rng.uniform(0.3, 1.0) - far
    horizon = H * rng.uniform(0.2, 0.75)
    if rise > 0:
        tilt = 0.03 * rng.standard_normal()
        slope = rise / (H - horizon)
        planes.append((tilt, slope, far - slope * horizon - tilt * W / 2))
    if kind == "corridor":
        for side in (-1, 1, 0):
            if rng.random() < 0.4:
                continue
            rise = max(0.0, largest * rng.uniform(0.2, 0.9) - far)
            if side:  # disparity grows towards the left or right border
                edge = W * rng.uniform(0.1, 0.45)
                slope = side * min(rise / edge, 0.4)
                planes.append((slope, 0.0, far - slope * (edge if side < 0 else W - 1 - edge)))
            else:
                edge = H * rng.uniform(0.1, 0.35)
                planes.append((0.0, -rise / edge, far + rise))
    return planes


def _plane_range(plane: Plane, box: Box) -> tuple[float, float]:
    a, b, c = plane
    corners = [a * x + b * y + c for x in (box[0], box[2] - 1) for y in (box[1], box[3] - 1)]
    return min(corners), max(corners)


def _background(
    photo: Image,
    plane: Plane,
    box: Box,
    rng: np.random.Generator,
    settings: StereoLayeredSettings,
) -> DisparityLayer:
    # a bare wall that fills the image would tell nothing: few, and flat, so that its edges do
    share = settings.paint_share * (0.4 if plane[1] < BARE_SLOPE else 1.0)
    extent = box[3] - box[1], box[2] - box[0]
    fit = min(photo.shape[0] / extent[0], photo.shape[1] / extent[1])
    scale = fit * rng.uniform(0.6, 1.0)
    texture, to_texture = _laid_out(photo, scale, 5 * rng.standard_normal(), box, rng)
    relief = None
    if rng.random() < share:
        texture = _paint(texture, rng)
    elif rng.random() < settings.relief_share:
        low, high = _plane_range(plane, box)
        height = 0.5 * min(max(low, 0.0), 0.5 * high) * rng.random()
        relief = gentle(height * _hills(extent, rng))
    return DisparityLayer(
        texture,
        to_texture,
        plane,
        box,
        relief=relief,
        highlight=_highlight(box, 0.0, rng, settings),
    )


def _object(
    photo: Image,
    planes: Sequence[Plane],
    size: tuple[int, int],
    largest: float,
    rng: np.random.Generator,
    settings: StereoLayeredSettings,
) -> DisparityLayer:
    """A cut-out before the background, mostly upright, some slanted or curved."""
    box, cover = _shape(size, largest, rng)
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    behind = max(a * middle[0] + b * middle[1] + c for a, b, c in planes)
    behind = min(max(behind, 0.0), largest)
    disp = rng.uniform(behind, largest)
    # objects far away lean less: their depth is small before their distance
    lean = rng.normal(size=2) * (0.15 if rng.random() < 0.5 else 0.02)
    lean = np.clip(lean, -0.4, 0.4)
    # no corner reaches behind infinity or far beyond the largest disparity
    spread = float(np.abs(lean) @ np.array([box[2] - box[0], box[3] - box[1]])) / 2
    lean *= min(1.0, 0.8 * disp / max(spread, 1e-6), (1.15 * largest - disp) / max(spread, 1e-6))
    plane = float(lean[0]), float(lean[1]), float(disp - lean @ middle)
    scale = float(np.exp(rng.uniform(np.log(0.6), np.log(2.2))))
    texture, to_texture = _laid_out(photo, scale, 25 * rng.standard_normal(), box, rng)
    if rng.random() < settings.paint_share:
        texture = _paint(texture, rng)
    relief = None
    if rng.random() < settings.relief_share and cover.shape[1] > 8:
        bulge = min(0.15 * cover.shape[1], 0.3 * disp) * rng.uniform(-0.5, 1)
        hills = _dome(cover.shape) if rng.random() < 0.5 else _hills(cover.shape, rng)
        relief = gentle(bulge * hills)
    light = _highlight(box, disp, rng, settings)
    return DisparityLayer(texture, to_texture, plane, box, cover, relief, light)


def _shape(size: tuple[int, int], largest: float, rng: np.random.Generator) -> tuple[Box, FloatMap]:
    """A box somewhere in either image and the silhouette in it: a thing or a thin pole."""
    H, W = size
    pole = rng.random() < 0.2
    if pole:
        lean = 0.7 * rng.standard_normal() if rng.random() < 0.5 else 0.0
        thick = rng.uniform(0.006, 0.03) * min(size) + 1
        height = round(H * rng.uniform(0.25, 1.2))
        width = round(thick + abs(lean) * 0.4 * height) + 2
        if rng.random() < 0.2:  # lying
            height, width = width, max(height, round(W * rng.uniform(0.2, 1.0)))
    else:
        radius = min(size) * np.exp(rng.uniform(np.log(0.05), np.log(0.5)))
        aspect = np.exp(0.35 * rng.standard_normal())
        height, width = (max(6, round(2 * radius * side)) for side in (aspect, 1 / aspect))
    left = round(rng.uniform(-0.1, 1.0) * (W + 0.5 * largest) - width / 2)
    top = round(rng.uniform(0.0, 1.0) * H - height / 2)
    box = left, top, left + width, top + height
    if not pole:
        return box, random_silhouette((height, width), rng)
    share = 1 - min(1.0, thick / width) if height > width else 0.0
    return box, bar((height, width), share * (1 if rng.random() < 0.5 else -1))


def _laid_out(
    photo: Image, texel_per_px: float, roll_deg: float, box: Box, rng: np.random.Generator
) -> tuple[Image, Array]:
    """A texture fine enough for one sample a pixel, and the (2, 3) map from left pixels to it.

    The box comes to lie at random on the photo, within it as far as that is large enough.
    """
    H, W = photo.shape[:2]
    reach = 0.75 * texel_per_px * np.array([box[2] - box[0], box[3] - box[1]])
    middle = (np.array([W, H]) - 1) / 2
    place = middle + rng.uniform(-1, 1, 2) * np.maximum(middle - reach, 0)
    if texel_per_px > FINEST:
        # only the part that may be seen is shrunk
        far = float(reach.max()) + 8
        left, top = (int(max(0.0, corner)) for corner in place - far)
        right, bottom = (int(corner) for corner in np.minimum(place + far, (W, H)))
        photo, texel_per_px, place = _shrunk(
            photo[top:bottom, left:right], texel_per_px, place - (left, top)
        )
    linear = texel_per_px * turn(roll_deg)
    centre = np.array([box[0] + box[2] - 1, box[1] + box[3] - 1]) / 2
    return photo, np.column_stack([linear, place - linear @ centre])


def _shrunk(photo: Image, texel_per_px: float, place: Array) -> tuple[Image, float, Array]:
    """`photo` with about FINEST texture pixels per image pixel, and where `place` (2,) comes."""
    H, W = photo.shape[:2]
    shrink = FINEST / texel_per_px
    small = resized(photo, (max(8, round(H * shrink)), max(8, round(W * shrink))))
    scale = np.array([small.shape[1] / W, small.shape[0] / H])
    return small, texel_per_px * float(scale.mean()), (place + 0.5) * scale - 0.5


def _paint(texture: Image, rng: np.random.Generator) -> Image:
    """A coat of one colour of `texture` with hardly a trace of it left, or none."""
    H, W = texture.shape[:2]
    colour = texture[int(rng.integers(H)), int(rng.integers(W))].astype(np.float64)
    keep = rng.uniform(0, 0.06) if rng.random() < 0.7 else 0.0
    shade = 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, H)
    coat = np.ascontiguousarray(
        np.broadcast_to(np.clip(shade[:, None, None] * colour, 0, 255).astype(np.uint8), (H, W, 3))
    )
    return np.asarray(cv2.addWeighted(texture, keep, coat, 1 - keep, 0), np.uint8)


def _hills(size: tuple[int, int], rng: np.random.Generator) -> FloatMap:
    """Low-frequency waves (H, W) within about -1..1."""
    cells = int(rng.integers(2, 6))
    rough = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _dome(size: tuple[int, int]) -> FloatMap:
    """A round bulge (H, W), 1 in the middle and 0 in the corners: balls and barrels."""
    x, y = (np.linspace(-1, 1, side, dtype=np.float32) for side in (size[1], size[0]))
    return np.asarray(1 - (x * x + (y * y)[:, None]) / 2, np.float32)


def _highlight(
    box: Box, disp: float, rng: np.random.Generator, settings: StereoLayeredSettings
) -> Highlight | None:
    """A spot somewhere on the surface that seems to lie behind or before it."""
    if rng.random() >= settings.gloss_share:
        return None
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = box[0] + width * rng.random(), box[1] + height * rng.random()
    radius = min(width, height) * rng.uniform(0.05, 0.25) + 1
    apart = disp * rng.uniform(-0.5, 0.3) + rng.uniform(-2, 2)
    return Highlight((x, y), radius, rng.uniform(40, 220), disp + apart)
