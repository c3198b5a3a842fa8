"""Stage 2: pairs from procedural 3-D scenes, with depth, pose and occlusion-checked motion."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from data_scripts.camera import Camera, intrinsics, look_at
from data_scripts.depth_pose import PosedImage, posed_pair
from data_scripts.images import Image
from data_scripts.layered import numpy_generator
from data_scripts.layers import inside
from data_scripts.layouts import Scene, random_lights, random_scene
from data_scripts.raycast import Rectangles, cast, cast_coarse, paint
from data_scripts.two_view import TwoView

CAMERA_TRIES = 16
SCENE_TRIES = 4
GRID = 12  # rays a side for the overlap of a pair
DEPTH_TOLERANCE = 0.005  # relative; rendered depths are exact, so only near misses need room
GRID_TOLERANCE = 0.03
NEAREST_SHARE = 0.06  # of the scene's depth must lie free before a camera


@dataclass(frozen=True)
class SceneSettings:
    """Which camera pairs stage 2 accepts; shares in [0, 1], angles in degrees."""

    min_overlap: float = 0.25  # of the smaller of the two shares that the other image shows
    max_overlap: float = 0.95
    fov_deg: tuple[float, float] = (45.0, 80.0)
    max_baseline: float = 0.7  # relative to the distance of the point looked at
    roll_share: float = 0.2  # of the pairs have one camera rolled by up to `max_roll_deg`
    max_roll_deg: float = 40.0
    relit_share: float = 0.3  # of the pairs are taken under different lamps

    def __post_init__(self) -> None:
        if not 0 <= self.min_overlap < self.max_overlap <= 1:
            raise ValueError(
                "min_overlap and max_overlap must be increasing shares in [0, 1], "
                f"got {self.min_overlap} and {self.max_overlap}"
            )


def scene_pair(
    photos: Sequence[Image],
    size: tuple[int, int],
    generator: torch.Generator,
    settings: SceneSettings | None = None,
) -> TwoView:
    """Two random views of a random ray-cast scene whose surfaces show photos.

    Args:
        photos: (H, W, 3) uint8 each.
        size: H, W of both images.
        generator: draws everything; the same state gives the same pair.
        settings: the defaults where None.
    """
    settings = settings or SceneSettings()
    rng = numpy_generator(generator)
    scene, cameras = _scene_and_cameras(photos, size, rng, settings)
    sky = np.asarray(cv2.resize(scene.sky, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    relit = rng.random() < settings.relit_share
    lights = [scene.lights, random_lights(scene.dimensions, rng) if relit else scene.lights]
    hits = [cast(scene.surfaces, camera) for camera in cameras]
    images = [
        paint(scene.surfaces, camera, lamps, hit, sky)
        for camera, lamps, hit in zip(cameras, lights, hits, strict=True)
    ]
    views = [
        PosedImage(image, hit.depth, camera.K, camera.T_world_to_cam)
        for image, hit, camera in zip(images, hits, cameras, strict=True)
    ]
    return posed_pair(views[0], views[1], tolerance=DEPTH_TOLERANCE)


def _scene_and_cameras(
    photos: Sequence[Image],
    size: tuple[int, int],
    rng: np.random.Generator,
    settings: SceneSettings,
) -> tuple[Scene, tuple[Camera, Camera]]:
    """A scene and two cameras whose overlap is wanted, or the nearest to it that was found."""
    best, best_miss = None, np.inf
    for _ in range(SCENE_TRIES):
        scene = random_scene(photos, rng)
        rectangles, nearest = Rectangles.of(scene.surfaces), NEAREST_SHARE * scene.dimensions[2]
        for _ in range(CAMERA_TRIES):
            first, second = cameras = _random_cameras(scene, size, rng, settings)
            overlap = _overlap(rectangles, first, second, nearest)
            if overlap >= settings.min_overlap:
                overlap = min(overlap, _overlap(rectangles, second, first, nearest))
            miss = max(settings.min_overlap - overlap, overlap - settings.max_overlap, 0.0)
            if best is None or miss < best_miss:
                best, best_miss = (scene, cameras), miss
            if best_miss == 0:
                return best
    if best is None:
        raise RuntimeError("no camera pair was drawn: SCENE_TRIES and CAMERA_TRIES must be > 0")
    return best


def _random_cameras(
    scene: Scene, size: tuple[int, int], rng: np.random.Generator, settings: SceneSettings
) -> tuple[Camera, Camera]:
    """Two cameras in the near half that look at about the same point of the far half."""
    span = scene.dimensions
    place = span * (rng.uniform(-0.3, 0.3), -rng.uniform(0.3, 0.8), rng.uniform(-0.05, 0.35))
    target = span * (rng.uniform(-0.35, 0.35), -rng.uniform(0.0, 0.7), rng.uniform(0.5, 1.0))
    distance = float(np.linalg.norm(target - place))
    step = rng.standard_normal(3) * (1.0, 0.4, 0.6)
    step *= distance * settings.max_baseline * rng.uniform(0.05, 1) / np.linalg.norm(step)
    second = np.clip(place + step, span * (-0.45, -0.9, -0.1), span * (0.45, -0.12, 0.6))
    aims = target, target + 0.12 * distance * rng.standard_normal(3)
    rolls = 4 * rng.standard_normal(2)
    if rng.random() < settings.roll_share:
        rolls[int(rng.integers(2))] += settings.max_roll_deg * rng.uniform(-1, 1)
    fovs = rng.uniform(*settings.fov_deg, 2)
    if rng.random() < 0.5:  # often the same camera took both
        fovs[1] = fovs[0]
    first, other = (
        Camera(intrinsics(fov, size), look_at(eye, aim, roll), size)
        for eye, aim, roll, fov in zip((place, second), aims, rolls, fovs, strict=True)
    )
    return (first, other) if rng.random() < 0.5 else (other, first)


def _overlap(rectangles: Rectangles, here: Camera, there: Camera, nearest_m: float) -> float:
    """Share of a coarse grid of rays of `here` that `there` sees; 0 if less than `nearest_m` free."""
    steps = np.linspace(0.02, 0.98, GRID)
    grid = np.stack(np.meshgrid(steps * (here.size[1] - 1), steps * (here.size[0] - 1)), -1)
    grid = grid.reshape(-1, 2)
    depth = cast_coarse(rectangles, here, grid)
    if depth.min() < nearest_m:
        return 0.0
    hit = np.isfinite(depth)
    pixels, expected = there.project(here.centre + depth[hit, None] * here.rays(grid[hit]))
    seen = inside(pixels, there.size)
    found = cast_coarse(rectangles, there, pixels[seen])
    agree = np.abs(found / expected[seen] - 1) < GRID_TOLERANCE
    return float(agree.sum() / len(grid))
