"""Strong photometric change: light, exposure, colour, blur, noise and compression, geometry kept.

Applied to each image of a pair on its own, after the geometry, so labels never move: every filter
is symmetric about its pixel. OpenCV on uint8 rather than kornia: of 256 x 256 pixels kornia 0.9
needs 17 ms for a JPEG, 10 for a plasma shadow and 10 for colour, all stages here together 3.5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from data_scripts.images import FloatMap, Image

LIGHT_STEP = 4  # light maps are smooth: drawn at a quarter of the size


@dataclass(frozen=True)
class PhotometricSettings:
    """How often each change happens (shares in [0, 1]) and how strong the changes are."""

    strength: float = 1.0  # 0 leaves the image as it is, 1 is strong, 1.5 extreme
    light_share: float = 0.6  # gradient, spots, shadows
    colour_share: float = 0.5  # saturation, colour temperature, channel gains
    blur_share: float = 0.35
    noise_share: float = 0.6
    jpeg_share: float = 0.4

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise ValueError(f"strength must be 0 or more, got {self.strength}")


def photometric(
    image: Tensor, generator: torch.Generator, settings: PhotometricSettings | None = None
) -> Tensor:
    """`image` (3, H, W) or (B, 3, H, W), float32 in [0, 1], changed at random; each on its own."""
    if image.ndim not in (3, 4) or image.shape[-3] != 3:
        raise ValueError(
            f"image must be (3, H, W) or (B, 3, H, W) RGB, got {tuple(image.shape)}; "
            "repeat the channel of a grey image three times"
        )
    if image.ndim == 4:
        return torch.stack([photometric(single, generator, settings) for single in image])
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    changed = change(pixels.cpu().numpy(), rng, settings or PhotometricSettings())
    tensor = torch.from_numpy(changed).permute(2, 0, 1).to(image.device)
    return tensor.to(image.dtype).div_(255)


def change(image: Image, rng: np.random.Generator, settings: PhotometricSettings) -> Image:
    """`image` (H, W, 3) uint8 changed at random, in the order in which a camera would do it."""
    stages: list[tuple[float, Callable[[Image, np.random.Generator, float], Image]]] = [
        (settings.light_share, _light),
        (settings.blur_share, _blur),
        (settings.colour_share, _saturation),
        (1.0, _expose),
        (settings.noise_share, _noise),
        (settings.jpeg_share, _jpeg),
    ]
    if settings.strength == 0:
        return image
    for share, stage in stages:
        if rng.random() < share:
            image = stage(image, rng, settings.strength)
    return image


def _light(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Uneven light: a gradient, a vignette, spots and soft or hard shadows."""
    H, W = image.shape[:2]
    size = max(2, H // LIGHT_STEP), max(2, W // LIGHT_STEP)
    y, x = np.ogrid[-1 : 1 : 1j * size[0], -1 : 1 : 1j * size[1]]
    slope = 0.4 * strength * rng.uniform(-1, 1, 2)
    light = 1 + slope[0] * x + slope[1] * y
    for _ in range(int(rng.integers(0, 3))):
        centre, radius = rng.uniform(-1.2, 1.2, 2), rng.uniform(0.2, 0.9)
        spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius**2))
        light = light * (1 + strength * rng.uniform(-0.6, 1.0) * spot)
    light = light.astype(np.float32)
    for _ in range(int(rng.integers(0, 3))):
        light *= _shadow(size, rng, strength)
    light = np.clip(light, 0.1, 3)
    full = cv2.resize(light, (W, H), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(image, cv2.merge([full] * 3), dtype=cv2.CV_8U), np.uint8)


def _shadow(size: tuple[int, int], rng: np.random.Generator, strength: float) -> FloatMap:
    """Light left (H, W) by a polygon, or its inverse, that takes part of it away."""
    corners = rng.uniform(-0.3, 1.3, (int(rng.integers(3, 7)), 2)) * (size[1], size[0])
    cover = np.zeros(size, np.float32)
    cv2.fillPoly(cover, [corners.astype(np.int32)], 1.0)
    softness = rng.uniform(0.5, 4)
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), softness), np.float32)
    return 1 - np.float32(min(0.9, strength * rng.uniform(0.2, 0.65))) * cover


def _blur(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Out of focus, moved while exposed, or seen at a lower resolution."""
    kind = rng.integers(3)
    if kind == 0:
        sigma = 0.4 + 3 * strength * rng.random() ** 2
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    if kind == 1:
        length = 1 + 6 * strength * rng.random() ** 2
        return np.asarray(
            cv2.filter2D(image, -1, motion_kernel(length, rng.uniform(0, 180))), np.uint8
        )
    H, W = image.shape[:2]
    factor = 1 + strength * rng.random()
    small = (max(1, round(W / factor)), max(1, round(H / factor)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (W, H), interpolation=cv2.INTER_LINEAR), np.uint8)


def motion_kernel(half_length_px: float, angle_deg: float) -> FloatMap:
    """Mean along a line about the centre pixel: odd and symmetric, so it moves nothing."""
    radius = int(np.ceil(half_length_px)) + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    angle = np.deg2rad(angle_deg)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    weight = np.clip(half_length_px + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1)
    return np.asarray(weight / weight.sum(), np.float32)


def _saturation(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """More or less colour about the grey value, and a little mixing between channels."""
    keep = np.exp(0.6 * strength * rng.standard_normal()) if rng.random() < 0.8 else 0.0
    grey = np.array([0.299, 0.587, 0.114])
    mix = keep * np.eye(3) + (1 - keep) * grey
    mix = mix + 0.08 * strength * rng.standard_normal((3, 3))
    mix /= np.maximum(mix.sum(1, keepdims=True), 0.5)
    return np.asarray(cv2.transform(image, mix), np.uint8)


def _expose(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Gamma, contrast, brightness, colour temperature and gains, in one table per channel."""
    values = np.linspace(0, 1, 256)[:, None]
    warmth = 0.15 * strength * rng.standard_normal()
    gains = np.exp(np.array([warmth, 0.0, -warmth]) + 0.05 * strength * rng.standard_normal(3))
    gamma = np.exp(0.35 * strength * rng.uniform(-1.5, 1.5))
    contrast = np.exp(strength * rng.uniform(-0.8, 0.45))
    brightness = 0.2 * strength * rng.uniform(-1, 1)
    table = (np.clip(values * gains, 0, 1) ** gamma - 0.5) * contrast + 0.5 + brightness
    table = np.round(np.clip(table, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _noise(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Sensor noise: the same in all channels, or one each."""
    H, W = image.shape[:2]
    sigma = np.float32(255 * 0.045 * strength * rng.random() ** 1.5)
    channels = 3 if rng.random() < 0.3 else 1
    noise = sigma * rng.standard_normal((H, W, channels), dtype=np.float32)
    if channels == 1:
        noise = np.repeat(noise, 3, axis=-1)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def _jpeg(image: Image, rng: np.random.Generator, strength: float) -> Image:
    quality = int(np.clip(90 - 65 * strength * rng.random(), 5, 95))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
