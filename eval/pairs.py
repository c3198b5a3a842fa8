"""What a benchmark of matching is made of: image pairs with their ground truth."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from eval.image_source import ImageSource


@dataclass(frozen=True)
class PoseTruth:
    """Known cameras of a pair; the top-left pixel has its centre at (0, 0)."""

    K0: np.ndarray  # (3, 3) of the image file, without skew
    K1: np.ndarray
    T_0to1: np.ndarray  # (4, 4), x1 = T x0
    # Height and width of the images that K0 and K1 belong to, where that is not the size of the files.
    K_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class HomographyTruth:
    """Known homography of a pair, from pixels of image file 0 to pixels of image file 1."""

    H_0to1: np.ndarray  # (3, 3)


Truth: TypeAlias = PoseTruth | HomographyTruth


@dataclass(frozen=True)
class ImagePair:
    """Two images and what is known of them."""

    name: str  # different for each pair of a benchmark
    image0: ImageSource
    image1: ImageSource
    truth: Truth
