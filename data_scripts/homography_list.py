"""Pairs of images with a known homography: `pairs.json` lists of image0, image1 and H_0to1."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_scripts import homography
from data_scripts.images import (
    Array,
    Image,
    fit_long_side,
    read_rgb,
    resize_map,
    resized,
    to_tensor,
)
from data_scripts.layers import inside
from data_scripts.two_view import TwoView
from data_scripts.untrusted import read_json_rows, told_as


@dataclass(frozen=True)
class HomographyPair:
    """Two image files of a flat or far scene, and the homography between them."""

    image0: Path
    image1: Path
    H_0to1: Array  # (3, 3) pixels of image 0 -> pixels of image 1


def read_pairs(list_path: Path) -> list[HomographyPair]:
    """The pairs of a JSON list; its image paths are relative to its folder."""
    wanted = "a JSON list of image0, image1 and H_0to1"
    entries = read_json_rows(list_path, wanted)
    with told_as(list_path, wanted):
        return _pairs(entries, list_path)


def _pairs(entries: list[dict[str, Any]], list_path: Path) -> list[HomographyPair]:
    pairs = []
    for number, entry in enumerate(entries):
        missing = [key for key in ("image0", "image1", "H_0to1") if key not in entry]
        if missing:
            raise ValueError(f"pair {number} of {list_path} must have {', '.join(missing)}")
        H = np.asarray(entry["H_0to1"], np.float64)
        if H.shape != (3, 3) or abs(np.linalg.det(H)) < 1e-12:
            raise ValueError(
                f"H_0to1 of pair {number} of {list_path} must be 3 x 3 and invertible, got {H}"
            )
        folder = list_path.parent
        pairs.append(HomographyPair(folder / entry["image0"], folder / entry["image1"], H))
    return pairs


def read_pair(pair: HomographyPair, long_side: int | None = None) -> TwoView:
    """Images and labels of `pair`, each image resized to `long_side`."""
    images, scales = [], []
    for path in (pair.image0, pair.image1):
        image = read_rgb(path)
        size = image.shape[0], image.shape[1]
        new_size = fit_long_side(size, long_side)
        images.append(resized(image, new_size))
        scales.append(resize_map(size, new_size))
    H_0to1 = scales[1] @ pair.H_0to1 @ np.linalg.inv(scales[0])
    return homography_pair(images[0], images[1], H_0to1)


def read_all(list_path: Path, long_side: int | None = None) -> Iterator[TwoView]:
    """Every pair of a list in turn."""
    for pair in read_pairs(list_path):
        yield read_pair(pair, long_side)


def homography_pair(image0: Image, image1: Image, H_0to1: Array) -> TwoView:
    """The TwoView of two images of one plane, nothing of which is covered.

    Args:
        image0: (H0, W0, 3) uint8 RGB.
        image1: (H1, W1, 3).
        H_0to1: (3, 3), pixels of image 0 to pixels of image 1.
    """
    sizes = [(image.shape[0], image.shape[1]) for image in (image0, image1)]
    ahead = homography.positive_at(H_0to1, _middle(sizes[0]))
    back = homography.positive_at(homography.invert(H_0to1), _middle(sizes[1]))
    warp_0to1, visible_0to1 = _plane_warp(ahead, sizes[0], sizes[1])
    warp_1to0, visible_1to0 = _plane_warp(back, sizes[1], sizes[0])
    return TwoView(
        image0=to_tensor(image0),
        image1=to_tensor(image1),
        warp_0to1=warp_0to1,
        visible_0to1=visible_0to1,
        warp_1to0=warp_1to0,
        visible_1to0=visible_1to0,
    )


def _middle(size: tuple[int, int]) -> tuple[float, float]:
    return (size[1] - 1) / 2, (size[0] - 1) / 2


def _plane_warp(
    H: Array, size: tuple[int, int], other_size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = homography.apply_to_pixels(H, (slice(0, size[0]), slice(0, size[1])))
    warp = np.stack([x, y], -1)
    visible = inside(warp, other_size)
    warp[~visible] = 0
    return torch.from_numpy(warp), torch.from_numpy(visible)
