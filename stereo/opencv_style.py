"""Our stereo behind the face of cv2.StereoMatcher: compute() gives 16 times the disparity in int16.

-stereo = cv2.StereoSGBM_create(minDisparity=0, numDisparities=128, blockSize=5)
+stereo = stereo.opencv_style.StereoMatcher(minDisparity=0, numDisparities=128)
"""

from typing import Any

import cv2
import numpy as np

from stereo.disparity import Disparity
from stereo.predictor import StereoPredictor, load_predictor

SCALE = 16  # stored values per pixel of disparity: cv2.StereoMatcher.DISP_SCALE
LARGEST = (2**15 - 1) // SCALE  # px that int16 holds


class StereoMatcher:
    """Has what code asks of a cv2.StereoSGBM: compute, and the range of disparities.

    Unlike OpenCV's, the network has no block, no speckles and no uniqueness to set, and it finds large
    disparities at no cost: the range only decides what counts as unknown.

    Args:
        minDisparity: px; what lies below it is unknown.
        numDisparities: px; what lies at minDisparity + numDisparities or above is unknown. None sets no limit
            below 2047 px, the largest that 16 times an int16 holds.
        predictor: from `stereo.load_predictor`; None loads the weights named `small`.
        min_confidence: pixels below it are unknown, in [0, 1].
        occluded: also give pixels that the right image does not show; OpenCV calls these unknown.
    """

    def __init__(
        self,
        minDisparity: int = 0,
        numDisparities: int | None = None,
        *,
        predictor: StereoPredictor | None = None,
        min_confidence: float = 0.0,
        occluded: bool = False,
    ) -> None:
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence must be in [0, 1], got {min_confidence}")
        self._first, self._count = 0, LARGEST
        self.setMinDisparity(minDisparity)
        self.setNumDisparities(LARGEST - minDisparity if numDisparities is None else numDisparities)
        self._predictor = predictor or load_predictor("small")
        self._min_confidence, self._occluded = min_confidence, occluded

    def compute(
        self, left: np.ndarray, right: np.ndarray, disparity: np.ndarray | None = None
    ) -> np.ndarray:
        """16 times the disparity of the left image, (H, W) int16; (minDisparity - 1) * 16 where unknown.

        Args:
            left: (H, W) grey or (H, W, 3) BGR uint8, rectified.
            right: the same, of the same size.
            disparity: (H, W) int16 that is filled and returned, as OpenCV does; None makes one.

        Raises:
            ValueError: images of other shapes, or a `disparity` that does not fit.
        """
        found = self._predictor.predict(_rgb(left), _rgb(right))
        stored = self._stored(found)
        if disparity is None:
            return stored
        if disparity.shape != stored.shape or disparity.dtype != np.int16:
            raise ValueError(
                f"disparity must be int16 {stored.shape}, got {disparity.dtype} {disparity.shape}"
            )
        disparity[...] = stored
        return disparity

    def _stored(self, found: Disparity) -> np.ndarray:
        stored = np.rint(found.disparity * SCALE)
        last = self._first + self._count
        known = (stored >= self._first * SCALE) & (stored < last * SCALE)
        known &= found.confidence >= self._min_confidence
        if not self._occluded:
            known &= found.occlusion <= 0.5
        return np.where(known, stored, (self._first - 1) * SCALE).astype(np.int16)

    def getMinDisparity(self) -> int:  # noqa: N802 - OpenCV's names, as below
        """Smallest disparity that is known, px."""
        return self._first

    def setMinDisparity(self, minDisparity: int) -> None:  # noqa: N802
        """See the class."""
        if not -LARGEST < minDisparity <= LARGEST:
            raise ValueError(f"minDisparity must be within {LARGEST} px, got {minDisparity}")
        self._first = minDisparity

    def getNumDisparities(self) -> int:  # noqa: N802
        """How many pixels the range of known disparities is wide."""
        return self._count

    def setNumDisparities(self, numDisparities: int) -> None:  # noqa: N802
        """See the class."""
        if not 0 < numDisparities <= LARGEST - self._first:
            raise ValueError(
                f"numDisparities must be 1 to {LARGEST - self._first} px, got {numDisparities}"
            )
        self._count = numDisparities


def _rgb(image: Any) -> np.ndarray:
    """OpenCV's BGR as RGB; grey as it is."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(
            f"wanted a uint8 image (H, W) or (H, W, 3) as cv2.imread gives it, got {got}"
        )
    if image.ndim == 2:
        return image
    if image.shape[2] != 3:
        raise ValueError(f"wanted an image (H, W) or (H, W, 3) in BGR, got {image.shape}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
