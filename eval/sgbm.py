"""Semi-global matching of OpenCV, holes filled, in the same harness to compare with."""

import cv2
import numpy as np

from data_scripts.given_images import Image, as_rgb8
from stereo.disparity import Disparity
from stereo.semi_global import fill_background, semi_global, steps_of

PROTOCOL = (
    "OpenCV StereoSGBM, MODE_HH, window 5, P1 = 600, P2 = 2400, uniqueness 10, range = a quarter of the "
    "width rounded up to 16, holes filled with the smaller neighbour of the row, images at their own size"
)


class SgbmMatcher:
    """StereoSGBM (after Hirschmueller 2008) in its full two-pass form, MODE_HH, on colour.

    The range is a quarter of the width, rounded up to a multiple of 16: it knows nothing of the truth.
    What is without an answer is filled as KITTI's devkit does; see `fill_background`.
    """

    def predict(self, left: Image, right: Image) -> Disparity:
        """Disparity of two RGB images of equal size; occlusion is 1 where it was filled."""
        pair = as_rgb8(left, "left"), as_rgb8(right, "right")
        found = semi_global(*pair, disparity_range(pair[0].shape[1]), cv2.STEREO_SGBM_MODE_HH)
        holes = np.isnan(found).astype(np.float32)
        return Disparity(fill_background(found), holes, 1 - holes)


def disparity_range(width: int) -> int:
    """Disparities to try for an image so wide, px."""
    return steps_of(width / 4)
