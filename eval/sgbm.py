"""Semi-global matching of OpenCV, holes filled, in the same harness to compare with."""

import cv2
import numpy as np

from data_scripts.given_images import Image, as_rgb8
from stereo.disparity import Disparity

WINDOW = 5  # px
STEP = 16  # OpenCV wants a multiple of it as the number of disparities
PROTOCOL = (
    "OpenCV StereoSGBM, MODE_HH, window 5, P1 = 600, P2 = 2400, uniqueness 10, range = a quarter of the "
    "width rounded up to 16, holes filled with the smaller neighbour of the row, images at their own size"
)
SCALE = 16  # stored values per pixel of disparity


class SgbmMatcher:
    """StereoSGBM (after Hirschmueller 2008) in its full two-pass form, MODE_HH.

    The range is a quarter of the width, rounded up to a multiple of 16: it knows nothing of the truth.
    Both images are continued to the left by that range, because OpenCV leaves the first columns of the range
    without any answer. What is still without one is filled as KITTI's devkit does; see `fill_background`.
    """

    def predict(self, left: Image, right: Image) -> Disparity:
        """Disparity of two RGB images of equal size; occlusion is 1 where it was filled."""
        pair = as_rgb8(left, "left"), as_rgb8(right, "right")
        disparities = disparity_range(pair[0].shape[1])
        columns = (
            disparities + WINDOW
        )  # OpenCV wants more columns than disparities and half a window
        wide = [_continued_left(image, columns) for image in pair]
        stored = _sgbm(disparities).compute(*wide)[:, columns:]
        found = stored > 0  # -16 says: no answer
        disp = fill_background(np.where(found, stored / np.float32(SCALE), np.nan))
        holes = (~found).astype(np.float32)
        return Disparity(disp, holes, 1 - holes)


def disparity_range(width: int) -> int:
    """Disparities to try for an image so wide, px."""
    return max(STEP, -(-width // (4 * STEP)) * STEP)


def _sgbm(disparities: int) -> cv2.StereoSGBM:
    return cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=disparities,
        blockSize=WINDOW,
        P1=8 * 3 * WINDOW**2,  # OpenCV's advice, for three channels
        P2=32 * 3 * WINDOW**2,
        disp12MaxDiff=1,
        preFilterCap=31,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_HH,
    )


def _continued_left(image: np.ndarray, columns: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, 0, 0, columns, 0, cv2.BORDER_REPLICATE)


def fill_background(disp: np.ndarray) -> np.ndarray:
    """A copy of disp (H, W) whose NaN are filled along the row, as KITTI's devkit interpolates.

    A hole gets the smaller of the values to its left and right, for what is hidden lies behind; at the
    ends of a row, the nearest value. Rows without any take the nearest row above, else below; a map without
    any value becomes 0.
    """
    known = np.isfinite(disp)
    H, W = disp.shape
    column = np.arange(W)
    before = np.maximum.accumulate(np.where(known, column, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, column, W)[:, ::-1], axis=1)[:, ::-1]
    row = np.arange(H)[:, None]
    left = np.where(before >= 0, disp[row, before.clip(0)], np.inf)
    right = np.where(after < W, disp[row, after.clip(None, W - 1)], np.inf)
    filled = np.minimum(left, right)
    full = np.isfinite(filled[:, 0])
    above = np.maximum.accumulate(np.where(full, np.arange(H), -1))
    source = np.where(above >= 0, above, full.argmax())
    return np.nan_to_num(filled[source], posinf=0.0).astype(np.float32)
