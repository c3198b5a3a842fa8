"""How the two eyes of a rectified pair come to look different: light, colour, noise, rectification.

What happened to the scene changes both images alike; what happens in a camera changes each a
little on its own; the right image may be a little off its rows. Labels stay as they are.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from data_scripts.homography import about, turn
from data_scripts.images import Image, to_tensor
from data_scripts.layered import numpy_generator
from data_scripts.photometric import PhotometricSettings, change
from data_scripts.rectified import RectifiedPair


@dataclass(frozen=True)
class StereoPhotometricSettings:
    """How often (shares in [0, 1]) and how strongly the looks of a pair change."""

    common: float = 0.6  # strength of the change of colour and exposure that both eyes share
    common_share: float = 0.85
    grey_share: float = 0.08  # of the pairs lose their colour
    between: float = 0.25  # strength of each eye's own light, colour, blur, noise and compression
    strong_share: float = 0.1  # of the pairs differ twice as much between the eyes
    tilt_share: float = 0.25  # of the pairs are off their rows by up to the next two
    max_shift_px: float = 1.0
    max_roll_deg: float = 0.2
    erase_share: float = 0.25  # of the right images have patches in their mean colour
    max_erased_px: int = 80  # longest side of a patch

    def __post_init__(self) -> None:
        for name in ("common", "between", "max_shift_px", "max_roll_deg", "max_erased_px"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


def stereo_photometric(
    pair: RectifiedPair,
    generator: torch.Generator,
    settings: StereoPhotometricSettings | None = None,
) -> RectifiedPair:
    """`pair` with the looks of its images changed at random and its labels as they were."""
    settings = settings or StereoPhotometricSettings()
    rng = numpy_generator(generator)
    images = [_to_image(image) for image in (pair.left, pair.right)]
    images = _change_both(images, rng, settings)
    if rng.random() < settings.tilt_share:
        images[1] = _off_its_rows(images[1], rng, settings)
    images = _change_each(images, rng, settings)
    if rng.random() < settings.erase_share:
        images[1] = _erased(images[1], rng, settings.max_erased_px)
    left, right = (to_tensor(image) for image in images)
    return replace(pair, left=left, right=right)


def _to_image(tensor: Tensor) -> Image:
    pixels = (tensor.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.asarray(pixels.contiguous().numpy(), np.uint8)


def _change_both(
    images: list[Image], rng: np.random.Generator, settings: StereoPhotometricSettings
) -> list[Image]:
    """The same colour and exposure for both: drawn anew for each from one seed."""
    if rng.random() < settings.common_share:
        seed = int(rng.integers(2**62))
        looks = PhotometricSettings(
            strength=settings.common, light_share=0, blur_share=0, noise_share=0, jpeg_share=0
        )
        images = [change(image, np.random.default_rng(seed), looks) for image in images]
    if rng.random() < settings.grey_share:
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
        images = [np.asarray(cv2.merge([image] * 3), np.uint8) for image in grey]
    return images


def _change_each(
    images: list[Image], rng: np.random.Generator, settings: StereoPhotometricSettings
) -> list[Image]:
    """Each eye's own vignette, gains, focus, noise and compression; often only in one."""
    strength = settings.between * rng.random()
    if rng.random() < settings.strong_share:
        strength = 2 * settings.between
    looks = PhotometricSettings(strength=strength, light_share=0.4, blur_share=0.25, jpeg_share=0.2)
    return [change(image, rng, looks) if rng.random() < 0.8 else image for image in images]


def _off_its_rows(
    image: Image, rng: np.random.Generator, settings: StereoPhotometricSettings
) -> Image:
    """`image` moved up or down and rolled a little about its centre."""
    H, W = image.shape[:2]
    roll = settings.max_roll_deg * rng.uniform(-1, 1)
    M = about(np.array([W - 1, H - 1]) / 2, turn(roll))[:2]
    M[1, 2] += settings.max_shift_px * rng.uniform(-1, 1)
    moved = cv2.warpAffine(image, M, (W, H), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _erased(image: Image, rng: np.random.Generator, max_side_px: int) -> Image:
    """A copy with one or two patches in the mean colour (Lipson et al. 2021, RAFT-Stereo)."""
    H, W = image.shape[:2]
    erased = image.copy()
    colour = np.round(image.mean((0, 1)))
    for _ in range(int(rng.integers(1, 3))):
        height, width = np.round(rng.uniform(0.3, 1, 2) * max_side_px).astype(int)
        top, left = int(rng.integers(H)), int(rng.integers(W))
        erased[top : top + height, left : left + width] = colour
    return erased
