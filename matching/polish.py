"""Moves the points of matches in image 1 by fractions of a pixel, to where the images themselves agree best.

A patch round each point of image 0, stretched and turned as the matches near it say, is aligned with image 1; a match
moves only if the patches are more alike after than before. Knows no network.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_scripts.compiled_loop import in_blocks
from matching.local_affine import local_affine
from matching.patch_alignment import Side, align, details

Pair = tuple[np.ndarray, np.ndarray]

LEVELS_PER_OCTAVE = 2  # blurs that an image is kept at
MEASURED = 512  # matches that tell how sharp an image is; an even selection of more
LEAST_BLOCK = 64  # matches a thread


@dataclass(frozen=True)
class PolishSettings:
    """How patches are compared; chosen on pairs made of photographs that were held out of training.

    A step is that of a patch's grid: a pixel of the coarser image, more where an image is blurred.
    """

    radius: int = 8  # steps from the middle of a patch to its edge
    window: float = 4.0  # steps; standard deviation of the weights of its pixels
    blur: float = 0.7  # steps; standard deviation of the blur of both images
    rounds: int = 3
    enough: float = 0.02  # steps; a move smaller than this ends the rounds
    farthest: float = 1.5  # steps; a match that would move farther stays
    least_alike: float = 0.8  # normalised correlation of the patches
    pull: float = 1.0  # back to the given place, the more the less alike the patches are
    damping: float = 4e-6  # grey^2; holds patches without texture
    least_seen: float = 0.5  # share of the weights of a patch that must lie inside both images
    mask_margin: int = 2  # px at the edge of a mask that are not used
    equal_blur: float = 1.5  # of the difference that is seen; windows hide some of it
    sharp: float = 1.6  # px; where detail is longer than this, steps are longer
    longest_step: float = 3.0  # px of the coarser image

    def __post_init__(self) -> None:
        for name in ("radius", "window", "blur", "sharp", "damping"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.rounds < 0 or self.mask_margin < 0 or self.equal_blur < 0 or self.pull < 0:
            raise ValueError(
                f"rounds, mask_margin, equal_blur and pull must be 0 or more, got {self}"
            )
        if self.longest_step < 1:
            raise ValueError(f"longest_step must be 1 px or more, got {self.longest_step}")


DEFAULTS = PolishSettings()


def polished(
    kpts0: np.ndarray,
    kpts1: np.ndarray,
    grey0: np.ndarray,
    grey1: np.ndarray,
    masks: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    settings: PolishSettings = DEFAULTS,
) -> np.ndarray:
    """Points of image 1 (N, 2) float32, most of them moved a little to where image 1 shows what image 0 does.

    A point never leaves image 1 or moves under its mask; a match with a point outside or NaN stays as it is, and
    so do too few to tell how the images lie to each other. The result does not depend on the number of threads.

    Args:
        kpts0: (N, 2) x, y in pixels of image 0; the centre of the top-left pixel is (0, 0).
        kpts1: (N, 2) the same for image 1.
        grey0: (H, W) float32 in [0, 1].
        grey1: the same of image 1, of any size.
        masks: bool (H, W) of each image, True = use; None: use all.
        settings: see there.

    Raises:
        ValueError: an argument of a wrong shape.
    """
    result = np.array(kpts1, np.float32)
    _check(kpts0, result, (grey0, grey1), masks)
    points = np.asarray(kpts0, np.float64), result.astype(np.float64)
    images = [np.ascontiguousarray(grey, np.float32) for grey in (grey0, grey1)]
    good = np.flatnonzero(_inside(points[0], images[0]) & _inside(points[1], images[1]))
    maps, known = local_affine(points[0][good], points[1][good])
    good, maps = good[known], maps[known]
    if not len(good):
        return result
    start = points[0][good], points[1][good]
    used = [_used(mask, settings.mask_margin) for mask in masks]
    zoom = np.sqrt(np.linalg.det(maps))
    px = np.maximum(1, 1 / zoom), np.maximum(1, zoom)  # of either image in a pixel of the coarser
    maps0 = np.eye(2) * px[0][:, None, None]
    window = _window(settings)
    step, blurs = _sharpness(images, used, start, (maps0, maps @ maps0), px, window, settings)
    sides = [
        _side(images[i], used[i], start[i], step * m, step * px[i], blurs[i])
        for i, m in enumerate((maps0, maps @ maps0))
    ]
    result[good] = _aligned(sides[0], sides[1], window, settings)
    return result


def _check(
    kpts0: np.ndarray,
    kpts1: np.ndarray,
    images: Pair,
    masks: tuple[np.ndarray | None, np.ndarray | None],
) -> None:
    for name, points in (("kpts0", kpts0), ("kpts1", kpts1)):
        if np.ndim(points) != 2 or np.shape(points) != (len(kpts1), 2):
            raise ValueError(
                f"{name} must be (N, 2) x, y in pixels, one row per match, got {np.shape(points)}"
            )
    for n, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if image.ndim != 2 or not image.size:
            raise ValueError(f"grey{n} must be (H, W) with a pixel or more, got {image.shape}")
        if mask is not None and mask.shape != image.shape:
            raise ValueError(
                f"mask {n} must have the shape of its image, {image.shape}, got {mask.shape}"
            )


def _inside(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    last = np.array([image.shape[1] - 1, image.shape[0] - 1])
    return np.all((points >= 0) & (points <= last), axis=1)  # NaN is outside


def _used(mask: np.ndarray | None, margin: int) -> np.ndarray:
    if mask is None:
        return np.empty((0, 0), bool)
    reach = np.ones((2 * margin + 1,) * 2, np.uint8)
    return cv2.erode(np.asarray(mask, np.uint8), reach).astype(bool)


def _window(settings: PolishSettings) -> np.ndarray:
    """Weights (S, S) of a patch's pixels, of sum 1."""
    steps = np.arange(-settings.radius, settings.radius + 1)
    line = np.exp(-(steps**2) / (2 * settings.window**2))
    weights = line[:, None] * line
    return (weights / weights.sum()).astype(np.float32)


def _sharpness(
    images: list[np.ndarray],
    used: list[np.ndarray],
    points: Pair,
    maps: Pair,
    px: Pair,
    window: np.ndarray,
    settings: PolishSettings,
) -> tuple[float, tuple[float, float]]:
    """How long a step should be, in pixels of the coarser image, and both images' blurs in such steps.

    The detail of a patch is as long as its contrast over its gradient. The sharper image is blurred until its
    detail is about as long as the other's: else edges and corners would lie elsewhere in it.
    """
    some = slice(None, None, 1 + len(points[0]) // MEASURED)
    found = np.zeros((2, len(points[0][some])), np.float32)
    for i in (0, 1):
        side = _side(images[i], used[i], points[i][some], maps[i][some], px[i][some], settings.blur)
        details(side, window, found[i])
    textured = found[:, found.min(axis=0) > 0]
    if not textured.size:
        return 1.0, (settings.blur, settings.blur)
    length2 = np.median(textured, axis=1)
    step = float(np.clip(np.sqrt(length2.max()) / settings.sharp, 1, settings.longest_step))
    more = settings.equal_blur * (length2[::-1] - length2).clip(0) / step**2
    return step, tuple(np.sqrt(settings.blur**2 + more).tolist())


def _side(
    image: np.ndarray,
    used: np.ndarray,
    points: np.ndarray,
    maps: np.ndarray,
    px: np.ndarray,
    blur: float,
) -> Side:
    """An image and its points, at blurs of about `blur` times px (N,), the pixels of it in a step of each match."""
    octaves = np.rint(LEVELS_PER_OCTAVE * np.log2(px)) / LEVELS_PER_OCTAVE
    needed, level = np.unique(octaves, return_inverse=True)
    levels = [
        cv2.GaussianBlur(image, (0, 0), blur * 2.0**octave, borderType=cv2.BORDER_REPLICATE)
        for octave in needed
    ]
    return np.stack(levels), level.astype(np.int64), used, points, np.ascontiguousarray(maps)


def _aligned(side0: Side, side1: Side, window: np.ndarray, settings: PolishSettings) -> np.ndarray:
    """The points of side 1 (N, 2) float64 after alignment, through as many threads as torch may use."""
    found = side1[3].copy()
    numbers = (
        settings.rounds,
        settings.enough,
        settings.farthest,
        settings.least_alike,
        settings.pull,
        settings.damping,
        settings.least_seen,
    )
    in_blocks(
        lambda block: align(side0, side1, window, numbers, block, found), len(found), LEAST_BLOCK
    )
    return found
