"""A folder of photographs held in memory, shrunk, as the raw material of synthetic pairs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from data_scripts.images import read_rgb, resized

logger = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}
MIN_SIDE = 32  # smaller images hold no texture worth warping


class PhotoFolder(Sequence[NDArray[np.uint8]]):
    """All readable images under `folder`, each (H, W, 3) uint8 RGB with a bounded short side.

    Files are read once, in sorted order, so that number n is the same photo in every process.
    Unreadable files are left out and named in one warning. Of more than `limit` files an even
    selection is taken: 1000 photos at the default size need about 1 GB.

    Args:
        folder: searched recursively.
        short_side: px; larger photos are shrunk to it, smaller ones kept.
        limit: photos at most.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no readable image in it.
    """

    def __init__(self, folder: str | Path, short_side: int = 512, limit: int = 1000) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"photos must be a folder of images, got {folder}: no folder")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if len(paths) > limit:
            paths = [paths[number * len(paths) // limit] for number in range(limit)]
        read = [(path, read_photo(path, short_side)) for path in paths]
        broken = [str(path.relative_to(folder)) for path, photo in read if photo is None]
        if broken:
            logger.warning("left out %d unreadable images: %s", len(broken), ", ".join(broken))
        self.photos = [photo for _, photo in read if photo is not None]
        if not self.photos:
            raise ValueError(
                f"{folder} must hold at least one readable image, got {len(paths)} image files and "
                f"none readable; give a folder with {', '.join(sorted(SUFFIXES))} files"
            )

    def __len__(self) -> int:
        return len(self.photos)

    @overload
    def __getitem__(self, number: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, number: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, number: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        return self.photos[number]


def read_photo(path: Path, short_side: int) -> NDArray[np.uint8] | None:
    """The image at `path`, (H, W, 3) uint8 RGB shrunk to `short_side`, or None if unreadable."""
    try:
        image = read_rgb(path)
    except (OSError, ValueError):
        return None
    return shrink(image, short_side) if min(image.shape[:2]) >= MIN_SIDE else None


def shrink(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """`image` (H, W, 3) with its short side at most `short_side`, area averaged."""
    scale = short_side / min(image.shape[:2])
    if scale >= 1:
        return image
    H, W = (max(1, round(side * scale)) for side in image.shape[:2])
    return resized(image, (H, W))
