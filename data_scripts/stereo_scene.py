"""Rectified pairs of the procedural 3-D scenes: a second camera beside the first, same axes.

Disparity is focal length * baseline / depth, exact in both images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from data_scripts import mipmap
from data_scripts.camera import Camera, intrinsics, look_at
from data_scripts.homography import turn
from data_scripts.images import Array, Image, to_tensor
from data_scripts.layered import numpy_generator
from data_scripts.layouts import Scene, random_scene
from data_scripts.raycast import Hits, Rectangles, cast, cast_coarse, paint
from data_scripts.rectified import RectifiedPair, random_largest_disp
from data_scripts.stereo_occlusion import occlusion
from data_scripts.surfaces import Material, Surface, box, rectangle

CAMERA_TRIES = 12
BASELINE_TRIES = 4
GRID = 12  # rays a side to judge a camera by
NEAREST_SHARE = 0.06  # of the scene's depth must lie free before a camera
EXCESS = 1.3  # the right eye may see something nearer by this factor than the left
PAINT_SIDE = 32  # px of a texture without texture
POLE_TEXELS = 100.0  # texture pixels per metre of thin things, one or two per image pixel


@dataclass(frozen=True)
class StereoSceneSettings:
    """What stereo scenes are like; shares in [0, 1]."""

    max_disp: float | None = None  # px, most that is drawn; None: see random_largest_disp
    fov_deg: tuple[float, float] = (40.0, 85.0)
    thin_share: float = 0.6  # of the scenes hold poles, fences or bars
    closed_share: float = 0.85  # of the scenes show no sky: walls all round, further out
    paint_share: float = 0.15  # of the surfaces are painted in one colour
    gloss_share: float = 0.15  # of the surfaces reflect the lamps strongly

    def __post_init__(self) -> None:
        if self.max_disp is not None and self.max_disp <= 0:
            raise ValueError(f"max_disp must be more than 0 px, got {self.max_disp}")


def stereo_scene_pair(
    photos: Sequence[Image],
    size: tuple[int, int],
    generator: torch.Generator,
    settings: StereoSceneSettings | None = None,
) -> RectifiedPair:
    """Two eyes on a random ray-cast scene whose surfaces show photos.

    Args:
        photos: (H, W, 3) uint8 each.
        size: H, W of both images.
        generator: draws everything; the same state gives the same pair.
        settings: the defaults where None.
    """
    settings = settings or StereoSceneSettings()
    rng = numpy_generator(generator)
    scene = _refurnished(random_scene(photos, rng), rng, settings)
    camera = _random_camera(scene, size, rng, settings)
    largest = random_largest_disp(size[1], settings.max_disp, rng)
    cameras, hits, baseline_m = _two_eyes(scene, camera, largest)
    sky = np.asarray(cv2.resize(scene.sky, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    images = [
        paint(scene.surfaces, eye, scene.lights, hit, sky)
        for eye, hit in zip(cameras, hits, strict=True)
    ]
    reach = np.float32(camera.K[0, 0] * baseline_m)  # px * m
    disps = [hit.inverse_depth * reach for hit in hits]
    to_right = occlusion(disps[0], hits[0].number, disps[1], hits[1].number, sign=-1)
    to_left = occlusion(disps[1], hits[1].number, disps[0], hits[0].number, sign=1)
    known = torch.ones(size, dtype=torch.bool)
    return RectifiedPair(
        left=to_tensor(images[0]),
        right=to_tensor(images[1]),
        disp=torch.from_numpy(disps[0]),
        known=known,
        occluded=torch.from_numpy(to_right),
        disp_right=torch.from_numpy(disps[1]),
        known_right=known.clone(),
        occluded_right=torch.from_numpy(to_left),
    )


def _two_eyes(
    scene: Scene, left: Camera, largest_px: float
) -> tuple[tuple[Camera, Camera], tuple[Hits, Hits], float]:
    """Both cameras, what they see, and the baseline in metres that makes `largest_px`."""
    seen = cast(scene.surfaces, left)
    nearest = max(float(seen.inverse_depth.max()), 1e-6)
    baseline_m = largest_px / (float(left.K[0, 0]) * nearest)
    for _ in range(BASELINE_TRIES):
        right = _beside(left, baseline_m)
        seen_right = cast(scene.surfaces, right)
        nearest_right = float(seen_right.inverse_depth.max())
        if nearest_right <= EXCESS * nearest:
            break
        # something stands right before the other eye: move it closer to the first
        baseline_m *= max(0.3, nearest / nearest_right)
    return (left, right), (seen, seen_right), baseline_m


def _beside(camera: Camera, baseline_m: float) -> Camera:
    """`camera` moved along its own x axis."""
    T = camera.T_world_to_cam.copy()
    T[0, 3] -= baseline_m
    return replace(camera, T_world_to_cam=T)


def _random_camera(
    scene: Scene, size: tuple[int, int], rng: np.random.Generator, settings: StereoSceneSettings
) -> Camera:
    """A camera in the near half that looks at the far half with some room before it."""
    span = scene.dimensions
    rectangles = Rectangles.of(scene.surfaces)
    best, best_room = None, -1.0
    for _ in range(CAMERA_TRIES):
        place = span * (rng.uniform(-0.35, 0.35), -rng.uniform(0.25, 0.85), rng.uniform(-0.1, 0.4))
        target = span * (rng.uniform(-0.35, 0.35), -rng.uniform(0.0, 0.7), rng.uniform(0.5, 1.0))
        roll = 3 * rng.standard_normal() if rng.random() < 0.5 else 0.0
        fov_deg = rng.uniform(*settings.fov_deg)
        camera = Camera(intrinsics(fov_deg, size), look_at(place, target, roll), size)
        room = _room_before(rectangles, camera)
        if best is None or room > best_room:
            best, best_room = camera, room
        if room >= NEAREST_SHARE * span[2]:
            break
    if best is None:
        raise RuntimeError("no camera was drawn: CAMERA_TRIES must be > 0")
    return best


def _room_before(rectangles: Rectangles, camera: Camera) -> float:
    """Least depth in metres along a coarse grid of rays."""
    steps = np.linspace(0.02, 0.98, GRID)
    grid = np.stack(np.meshgrid(steps * (camera.size[1] - 1), steps * (camera.size[0] - 1)), -1)
    return float(cast_coarse(rectangles, camera, grid.reshape(-1, 2)).min())


def _refurnished(scene: Scene, rng: np.random.Generator, settings: StereoSceneSettings) -> Scene:
    """The scene with thin things added and some of its surfaces painted or polished."""
    surfaces = list(scene.surfaces)
    if rng.random() < settings.closed_share:
        surfaces += _shell(scene.dimensions, surfaces, rng)
    if rng.random() < settings.thin_share:
        for _ in range(int(rng.integers(1, 4))):
            surfaces += _thin_things(scene.dimensions, surfaces, rng)
    for number, surface in enumerate(surfaces):
        if rng.random() < settings.paint_share:
            surface = replace(surface, levels=_paint(surface.levels, rng), texel_per_m=4.0)
        if surface.heights is None and rng.random() < settings.gloss_share:
            surface = replace(surface, gloss=rng.uniform(0.3, 1.0))
        surfaces[number] = surface
    return replace(scene, surfaces=surfaces)


def _shell(size: Array, surfaces: Sequence[Surface], rng: np.random.Generator) -> list[Surface]:
    """Walls, ceiling and ground round the whole scene, textured like some of `surfaces`."""
    half = size * (rng.uniform(0.55, 1.5), rng.uniform(0.55, 1.2), rng.uniform(0.9, 1.6))
    centre = np.array([0.0, 0.05 * size[1] - half[1], 0.5 * size[2]])
    materials = []
    for _ in range(6):
        levels = surfaces[int(rng.integers(len(surfaces)))].levels
        span_m = 2 * half[1] * rng.uniform(0.5, 1.2)
        materials.append(Material(levels, min(levels[0].shape[:2]) / span_m, 0.0))
    return [replace(wall, two_sided=True) for wall in box(centre, np.eye(3), half, materials)]


def _paint(levels: list[Image], rng: np.random.Generator) -> list[Image]:
    """A coat in one colour of the texture, a little uneven at most."""
    coarse = levels[-1]
    H, W = coarse.shape[:2]
    colour = coarse[int(rng.integers(H)), int(rng.integers(W))].astype(np.float64)
    uneven = rng.standard_normal((4, 4, 1)) * rng.uniform(0, 6)
    coat = np.clip(colour + uneven, 0, 255).astype(np.uint8)
    side = (PAINT_SIDE, PAINT_SIDE)
    return mipmap.pyramid(np.asarray(cv2.resize(coat, side, interpolation=cv2.INTER_CUBIC)))


def _thin_things(
    size: Array, surfaces: Sequence[Surface], rng: np.random.Generator
) -> list[Surface]:
    """A pole, a fence of upright boards or a bar across, textured like some of `surfaces`."""
    levels = surfaces[int(rng.integers(len(surfaces)))].levels
    material = Material(levels, POLE_TEXELS, 0.0)
    thick = float(np.exp(rng.uniform(np.log(0.008), np.log(0.06))))
    place = size * (rng.uniform(-0.4, 0.4), 0.0, rng.uniform(0.3, 0.9))
    height = size[1] * rng.uniform(0.3, 1.0)
    kind = rng.choice(["pole", "fence", "bar"])
    axes = np.eye(3)
    axes[np.ix_([0, 2], [0, 2])] = turn(35 * rng.standard_normal())
    if kind == "pole":
        half = np.array([thick, height, thick]) / 2
        return box(place - (0, height / 2, 0), axes, half, [material])
    along, down = axes[0], np.array([0.0, 1.0, 0.0])
    if kind == "bar":
        length = size[0] * rng.uniform(0.2, 0.8)
        start = place - along * length / 2 - down * rng.uniform(0.1, 0.9) * size[1]
        lean = 0.3 * rng.standard_normal()
        edge = length * (along * np.cos(lean) + down * np.sin(lean))
        across = thick * (down * np.cos(lean) - along * np.sin(lean))
        return [rectangle(start, edge, across, material)]
    count = int(rng.integers(4, 10))
    step = thick * rng.uniform(2, 5)
    top = place - down * height * rng.uniform(0.4, 1.0)
    starts = [top + along * step * number for number in range(count)]
    boards = [rectangle(start, thick * along, place - top, material) for start in starts]
    rail = rectangle(starts[0] - 0.01 * axes[2], count * step * along, thick * down, material)
    return [*boards, rail]
