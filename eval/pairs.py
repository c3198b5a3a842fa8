"""What a benchmark is made of: image pairs with their ground truth, at the size of the image files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True)
class PoseTruth:
    """Known cameras of a pair; the top-left pixel has its centre at (0, 0)."""

    K0: np.ndarray  # (3, 3) of the image file, without skew
    K1: np.ndarray
    T_0to1: np.ndarray  # (4, 4), x1 = T x0


@dataclass(frozen=True)
class HomographyTruth:
    """Known homography of a pair, from pixels of image file 0 to pixels of image file 1."""

    H_0to1: np.ndarray  # (3, 3)


Truth: TypeAlias = PoseTruth | HomographyTruth


@dataclass(frozen=True)
class ImagePair:
    """Two image files and what is known of them."""

    name: str  # different for each pair of a benchmark
    path0: Path
    path1: Path
    truth: Truth
