"""What a benchmark of stereo is made of: rectified pairs with the disparity of the left image."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eval.image_source import ImageSource


@dataclass(frozen=True)
class StereoTruth:
    """What is known of the left image."""

    disp: np.ndarray  # (H, W) float32 px, infinite where unknown
    visible: np.ndarray  # (H, W) bool: known, and the right image shows it
    # Whether the set tells which pixels are covered; else visible means that the match lies in the image.
    occlusion_known: bool = False
    foreground: np.ndarray | None = None  # (H, W) bool, of KITTI 2015: moving objects


class TruthSource(Protocol):
    """Something that reads a truth when it is needed; it must be possible to send it to a process."""

    def read(self) -> StereoTruth:
        """The truth; raises FileNotFoundError or ValueError for a file that is missing or broken."""
        ...


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair of a benchmark."""

    name: str  # different for each pair of a benchmark
    group: str  # the data set it is of, whose images are averaged
    left: ImageSource
    right: ImageSource
    source: TruthSource
    weight: float = 1.0  # in the mean of images
    ndisp: float | None = None  # px; the set says that disparities lie below it

    def truth(self) -> StereoTruth:
        """Reads the disparity and which pixels the right image shows."""
        return self.source.read()


def seen_inside(disp: np.ndarray) -> np.ndarray:
    """Which left pixels (H, W) have a known match inside the right image: x - disp >= 0.

    All that can be said without a mask or the disparity of the right image.
    """
    return np.arange(disp.shape[1]) - disp >= 0
