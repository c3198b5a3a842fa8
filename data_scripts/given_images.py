"""Images as people have them, to one grey map: (H, W) float32 in [0, 1].

Owns what counts as an image or a mask and the words for what does not. Colour is RGB, never BGR.
"""

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor

from data_scripts.image_files import read_image

Image: TypeAlias = str | Path | np.ndarray | Tensor
Mask: TypeAlias = np.ndarray | Tensor

FLOAT_SLACK = 1e-3  # float images that were resized or rounded may step this far out of [0, 1]
BIT_DEPTHS = (8, 10, 12, 14, 16)  # of what cameras store in uint16


def as_grey(image: Image, name: str = "image") -> np.ndarray:
    """Grey values (H, W) float32 in [0, 1].

    Args:
        image: a file, or an array: uint8, uint16 or float in [0, 1]; (H, W), (H, W, 1), (H, W, 3) RGB
            or (H, W, 4) RGBA whose alpha is dropped. Tensors are (H, W) or (C, H, W). uint16 is divided
            by the full scale of the smallest of 8, 10, 12, 14, 16 bits that holds its largest value.
        name: what messages call the image; a file goes by its path.

    Colour to grey is OpenCV's: 0.299 R + 0.587 G + 0.114 B, rounded in the integer types.
    """
    array = as_array(image, name)
    scale = full_scale(array)
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)
    grey: np.ndarray = np.clip(array.astype(np.float32) / np.float32(scale), 0.0, 1.0)
    return grey


def as_rgb8(image: Image, name: str = "image") -> np.ndarray:
    """The same image for drawing: (H, W, 3) uint8 RGB."""
    array = as_array(image, name)
    shown = np.clip(array.astype(np.float32) / full_scale(array), 0.0, 1.0)
    shown = np.rint(shown * 255).astype(np.uint8)
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def as_array(image: Image, name: str = "image") -> np.ndarray:
    """A checked array, (H, W) or (H, W, 3) RGB, uint8, uint16 or float32, contiguous, without alpha."""
    if isinstance(image, str | Path):
        name, image = str(image), read_image(image)
    elif isinstance(image, Tensor):
        image = _from_tensor(image, name)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"{name} must be a path, a numpy array or a tensor, got {type(image).__name__}; "
            "pass np.asarray(image)"
        )
    image = _without_alpha(image, name)
    if image.dtype == np.uint8 or image.dtype.newbyteorder("=") == np.uint16:
        return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    if image.dtype.kind != "f":
        raise TypeError(
            f"{name} must be uint8, uint16 or float in [0, 1], got {image.dtype}; "
            "convert it, for example with image.astype(np.uint8)"
        )
    _check_range(image, name)
    return np.ascontiguousarray(image, dtype=np.float32)


def as_mask(mask: Mask | None, size: tuple[int, int], name: str = "mask") -> np.ndarray | None:
    """`mask` as a contiguous bool array (H, W), checked against the `size` of its image."""
    if mask is None:
        return None
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu().numpy()
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"{name} must be a bool array, True = use, got {got}; pass mask > 0")
    if mask.shape != size:
        raise ValueError(
            f"{name} must be (H, W) of its image, {size}, got {mask.shape}; "
            "give the mask in pixels of the image as given"
        )
    return np.ascontiguousarray(mask)


def full_scale(array: np.ndarray) -> float:
    """The value that stands for white: 255, 1.0, or for uint16 that of its bit depth (see as_grey)."""
    if array.dtype == np.uint8:
        return 255.0
    if array.dtype != np.uint16:
        return 1.0
    largest = int(array.max())
    return next(2.0**bits - 1 for bits in BIT_DEPTHS if largest < 2**bits)


def _from_tensor(image: Tensor, name: str) -> np.ndarray:
    """(H, W) or (C, H, W) on any device to (H, W) or (H, W, C) in numpy."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] not in (1, 3, 4)):
        raise ValueError(
            f"{name} as a tensor must be (H, W) or (C, H, W) with C of 1, 3 or 4, got "
            f"{tuple(image.shape)}; permute it, or take one image of a batch"
        )
    image = image.detach().cpu()
    image = image.float() if image.dtype == torch.bfloat16 else image
    return image.resolve_conj().numpy() if image.ndim == 2 else image.permute(1, 2, 0).numpy()


def _without_alpha(image: np.ndarray, name: str) -> np.ndarray:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"{name} must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}; "
            "transpose or split the array"
        )
    if 0 in image.shape:
        raise ValueError(f"{name} must have at least one pixel, got {image.shape}; check the crop")
    if image.ndim == 2:
        return image
    return image[..., 0] if image.shape[2] == 1 else image[..., :3]


def _check_range(image: np.ndarray, name: str) -> None:
    lowest, highest = float(image.min()), float(image.max())  # NaN anywhere makes both NaN
    if not np.isfinite([lowest, highest]).all():
        raise ValueError(
            f"{name} must be finite, got NaN or infinite values; "
            "replace them, for example with np.nan_to_num(), and mask them out"
        )
    if lowest < -FLOAT_SLACK or highest > 1 + FLOAT_SLACK:
        raise ValueError(
            f"{name} as float must lie in [0, 1], got [{lowest:g}, {highest:g}]; "
            "divide by its full scale or convert it to uint8"
        )
