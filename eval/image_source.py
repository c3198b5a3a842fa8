"""Where an image of a benchmark lies, in a file of its own or in a converted data set, and reading it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from data_scripts.dataset import Dataset, open_dataset
from data_scripts.given_images import as_rgb8
from data_scripts.image_files import read_image


@dataclass(frozen=True)
class ConvertedImage:
    """An image of a data set that `python -m data_scripts` has converted into HDF5."""

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}, image {self.number}"


@dataclass(frozen=True)
class TurnedImage:
    """An image that has to be turned upright first, as `np.rot90(image, turns)` does."""

    source: Path | ConvertedImage
    turns: int  # quarter turns, 0 to 3

    def __str__(self) -> str:
        return str(self.source)


ImageSource: TypeAlias = Path | ConvertedImage | TurnedImage


def read_source(source: ImageSource) -> np.ndarray:
    """The picture, (H, W) grey or (H, W, 3) RGB as stored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file or record that is no complete image; the message names it.
    """
    if isinstance(source, TurnedImage):
        return np.ascontiguousarray(np.rot90(read_source(source.source), source.turns))
    if isinstance(source, ConvertedImage):
        return opened(source.file).image(source.number).rgb()
    return read_image(source)


def read_rgb(source: ImageSource) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB; errors as in `read_source`."""
    return as_rgb8(read_source(source), str(source))


@lru_cache(maxsize=4)  # opening anew for every image would cost more than reading it
def opened(path: Path) -> Dataset:
    """The data set at `path`, which stays open."""
    return open_dataset(path)
