"""Stage 1: photographs on flat layers that move independently, drawn at random.

A background plane under two random cameras (zoom, tilt, roll, shear, shift) and up to a few
cut-outs before it, most of which follow the background with a parallax of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from data_scripts import cutouts, homography
from data_scripts.homography import PlaneView
from data_scripts.images import Array, Image
from data_scripts.layers import Layer, compose, inside
from data_scripts.two_view import TwoView

TRIES = 30  # random views drawn before the best so far is taken
MIRROR_SHARE = 0.2  # at most this much of an image may show the photo's mirrored surroundings


@dataclass(frozen=True)
class LayeredSettings:
    """How wild stage 1 is; angles in degrees, shares in [0, 1]."""

    max_zoom: float = 2.5  # largest ratio of the two scales
    max_tilt_deg: float = 60.0
    max_roll_deg: float = 35.0  # between the two images, but for `free_roll_share`
    free_roll_share: float = 0.12  # of the pairs are rolled by any angle
    strong_tilt_share: float = 0.4  # of the pairs have one tilt in the upper half
    shear_share: float = 0.3
    max_cutouts: int = 4
    free_cutout_share: float = 0.2  # of the cut-outs move with no relation to the background
    min_overlap: float = 0.2  # of either image, before cut-outs cover it

    def __post_init__(self) -> None:
        if self.max_zoom < 1:
            raise ValueError(f"max_zoom must be at least 1, got {self.max_zoom}")
        if not 0 <= self.max_tilt_deg <= 75:
            raise ValueError(f"max_tilt_deg must lie in 0..75, got {self.max_tilt_deg}")


def layered_pair(
    photos: Sequence[Image],
    size: tuple[int, int],
    generator: torch.Generator,
    settings: LayeredSettings | None = None,
) -> TwoView:
    """A random pair of images made of photos: planes before planes, each with its own motion.

    Args:
        photos: (H, W, 3) uint8 each.
        size: H, W of both images.
        generator: draws everything; the same state gives the same pair.
        settings: the defaults where None.
    """
    settings = settings or LayeredSettings()
    rng = numpy_generator(generator)
    layers = [random_background(pick_photo(photos, rng), size, rng, settings)]
    for _ in range(int(rng.integers(0, settings.max_cutouts + 1))):
        texture = layers[0].texture if rng.random() < 0.25 else pick_photo(photos, rng)
        layers.append(random_cutout(texture, layers[0], size, rng, settings))
    if rng.random() < 0.5:  # either image may be the tilted one
        layers = [
            replace(layer, to_image0=layer.to_image1, to_image1=layer.to_image0) for layer in layers
        ]
    return compose(layers, size)


def unrelated_pair(
    photos: Sequence[Image],
    size: tuple[int, int],
    generator: torch.Generator,
    settings: LayeredSettings | None = None,
) -> TwoView:
    """Images of two different photos, composed as `layered_pair` does: nothing is visible in the other.

    Args:
        photos: two or more, (H, W, 3) uint8 each.
        size: H, W of both images.
        generator: draws everything; the same state gives the same pair.
        settings: the defaults where None.

    Raises:
        ValueError: fewer than two photos.
    """
    if len(photos) < 2:
        raise ValueError(f"unrelated pairs need at least 2 photos, got {len(photos)}")
    rng = numpy_generator(generator)
    order = rng.permutation(len(photos))
    halves = [photos[int(number)] for number in order[:1]], [photos[int(order[1])]]
    first, second = (layered_pair(half, size, generator, settings) for half in halves)
    nowhere, never = torch.zeros(*size, 2), torch.zeros(size, dtype=torch.bool)
    return TwoView(
        image0=first.image0,
        image1=second.image1,
        warp_0to1=nowhere,
        visible_0to1=never,
        warp_1to0=nowhere.clone(),
        visible_1to0=never.clone(),
    )


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded by the next number of `generator`: single draws are far cheaper."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def pick_photo(photos: Sequence[Image], rng: np.random.Generator) -> Image:
    """One of `photos`, mirrored half of the time."""
    photo = photos[int(rng.integers(len(photos)))]
    return np.asarray(cv2.flip(photo, 1), np.uint8) if rng.random() < 0.5 else photo


def random_background(
    texture: Image, size: tuple[int, int], rng: np.random.Generator, settings: LayeredSettings
) -> Layer:
    """Two random views of one texture that overlap and mostly stay on it."""
    texture_size = texture.shape[0], texture.shape[1]
    frontal = homography.view_of_plane(_frontal_view(texture_size, size), size)
    best, best_share = [frontal, frontal], 0.0
    for _ in range(TRIES):
        to_image = _random_views(texture_size, size, rng, settings)
        share = _overlap(to_image, texture_size, size)
        if share > best_share:
            best, best_share = to_image, share
        if share >= settings.min_overlap:
            break
    return Layer(texture, *best)


def _frontal_view(texture_size: tuple[int, int], size: tuple[int, int]) -> PlaneView:
    scale = min(texture_size[0] / size[0], texture_size[1] / size[1])
    return PlaneView(((texture_size[1] - 1) / 2, (texture_size[0] - 1) / 2), scale)


def _random_views(
    texture_size: tuple[int, int],
    size: tuple[int, int],
    rng: np.random.Generator,
    settings: LayeredSettings,
) -> list[Array]:
    """A mild view of the texture and a wilder one: homographies texture -> image."""
    fit = min(texture_size[0] / size[0], texture_size[1] / size[1])
    zoom = settings.max_zoom ** (rng.random() ** 1.5)
    # a close view shows detail only if the wide one uses all of the texture
    wide = fit * rng.uniform(1 - 0.35 / zoom, 1)
    scales = (wide, wide / zoom) if rng.random() < 0.5 else (wide / zoom, wide)
    centre = np.array([texture_size[1] - 1, texture_size[0] - 1]) / 2
    room = np.maximum(centre - wide * np.array(size[::-1]) / 2, 0)
    middle = centre + rng.uniform(-1, 1, 2) * (room + 0.05 * wide * min(size))
    step = 0.35 * min(scales) * min(size) * rng.uniform(-1, 1, 2)
    rolls = _random_rolls(rng, settings)
    tilts = _random_tilts(rng, settings)
    to_image = [
        homography.view_of_plane(
            PlaneView(
                look_at=(middle[0] + sign * step[0], middle[1] + sign * step[1]),
                texel_per_px=scale,
                tilt_deg=tilt,
                tilt_direction_deg=rng.uniform(0, 360),
                roll_deg=roll,
                fov_deg=rng.uniform(45, 80),
            ),
            size,
        )
        for sign, scale, tilt, roll in zip((-1, 1), scales, tilts, rolls, strict=True)
    ]
    if rng.random() < settings.shear_share:
        to_image[1] = _random_shear(size, rng) @ to_image[1]
    return to_image


def _random_rolls(rng: np.random.Generator, settings: LayeredSettings) -> tuple[float, float]:
    roll = rng.uniform(-180, 180) if rng.random() < 0.2 else 6 * rng.standard_normal()
    free = rng.random() < settings.free_roll_share
    step = rng.uniform(-180, 180) if free else settings.max_roll_deg * rng.uniform(-1, 1)
    return roll, roll + step


def _random_tilts(rng: np.random.Generator, settings: LayeredSettings) -> tuple[float, float]:
    strong = rng.random() < settings.strong_tilt_share
    mild = min(abs(15 * rng.standard_normal()), settings.max_tilt_deg / 2)
    return mild, settings.max_tilt_deg * (rng.uniform(0.5, 1) if strong else rng.uniform(0, 0.5))


def _random_shear(size: tuple[int, int], rng: np.random.Generator) -> Array:
    linear = np.array([[1.0, rng.uniform(-0.2, 0.2)], [0.0, np.exp(rng.uniform(-0.15, 0.15))]])
    return homography.about(_middle(size), linear)


def _middle(size: tuple[int, int]) -> Array:
    return np.array([size[1] - 1, size[0] - 1]) / 2


def _overlap(
    to_image: Sequence[Array], texture_size: tuple[int, int], size: tuple[int, int]
) -> float:
    """The smaller share of either image that the other one shows; 0 where either is unusable."""
    to_texture = [homography.inverse(H, size) for H in to_image]
    if not all(homography.clears_horizon(H, size) for H in to_texture):
        return 0.0
    steps = np.linspace(0, 1, 9)
    grid = np.stack(np.meshgrid(steps * (size[1] - 1), steps * (size[0] - 1)), -1)
    shares = []
    for from_image, to_other in ((to_texture[0], to_image[1]), (to_texture[1], to_image[0])):
        on_texture = homography.apply(from_image, grid)
        real = inside(on_texture, texture_size)
        seen = real & inside(homography.apply(to_other, on_texture), size)
        shares.append(float(seen.mean()) if real.mean() >= 1 - MIRROR_SHARE else 0.0)
    return min(shares)


def random_cutout(
    texture: Image,
    background: Layer,
    size: tuple[int, int],
    rng: np.random.Generator,
    settings: LayeredSettings,
) -> Layer:
    """A piece of `texture` before `background` that moves on its own, mostly not far from it."""
    radius = min(size) * rng.uniform(0.08, 0.32)
    texel_per_px = min(rng.uniform(0.7, 1.8), 0.49 * min(texture.shape[:2]) / radius)
    radius_texels = radius * texel_per_px
    room = np.array([texture.shape[1], texture.shape[0]]) - 1 - 2 * radius_texels
    centre = radius_texels + rng.random(2) * np.maximum(room, 0)
    outline = centre + radius_texels * cutouts.random_outline(rng)
    place = rng.uniform(0.05, 0.95, 2) * 2 * _middle(size)
    to_image0 = _cutout_view(centre, texel_per_px, place, size, rng)
    if rng.random() < settings.free_cutout_share:
        place = rng.uniform(0.05, 0.95, 2) * 2 * _middle(size)
        scale = texel_per_px * np.exp(rng.uniform(-0.6, 0.6))
        to_image1 = _cutout_view(centre, scale, place, size, rng)
    else:
        to_image1 = _parallax(background, place, size, rng) @ to_image0
    in_view = [homography.clears_horizon_at(H, outline) for H in (to_image0, to_image1)]
    return Layer(texture, to_image0, to_image1 if all(in_view) else to_image0, outline)


def _cutout_view(
    centre: Array,
    texel_per_px: float,
    place: Array,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Array:
    """A tilted view of a texture whose `centre` comes to lie at `place` in the image."""
    view = PlaneView(
        look_at=(float(centre[0]), float(centre[1])),
        texel_per_px=texel_per_px,
        tilt_deg=min(abs(20 * rng.standard_normal()), 50),
        tilt_direction_deg=rng.uniform(0, 360),
        roll_deg=25 * rng.standard_normal(),
    )
    return homography.translation(*(place - _middle(size))) @ homography.view_of_plane(view, size)


def _parallax(
    background: Layer, place: Array, size: tuple[int, int], rng: np.random.Generator
) -> Array:
    """The motion of `background` (image 0 -> image 1) and, about `place`, a little of its own."""
    follow = background.to_image1 @ homography.inverse(background.to_image0, size)
    target = homography.apply(follow, place)
    if not np.isfinite(target).all() or np.abs(target - _middle(size)).max() > 2 * max(size):
        return np.eye(3)
    linear = homography.turn(12 * rng.standard_normal()) * np.exp(0.15 * rng.standard_normal())
    shift = homography.translation(*(0.1 * min(size) * rng.standard_normal(2)))
    H = shift @ homography.about(target, linear) @ follow
    return homography.positive_at(H, (float(place[0]), float(place[1])))
