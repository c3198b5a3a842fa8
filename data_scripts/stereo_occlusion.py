"""What one eye of a pair does not see of the other: occlusion from the disparities of both."""

import numpy as np
from numpy.typing import NDArray

from data_scripts.images import FloatMap

# two surfaces closer than this hide less than half a pixel of each other; the room is needed where
# they meet in an edge, since the other image is looked up at its nearest pixel
TOLERANCE_PX = 0.3


def occlusion(
    disp: FloatMap,
    number: NDArray[np.int16],
    other_disp: FloatMap,
    other_number: NDArray[np.int16],
    sign: int,
    tolerance_px: float = TOLERANCE_PX,
) -> NDArray[np.bool_]:
    """Which pixels (H, W) the other image does not show: covered there, or outside it.

    disp, number (H, W): disparity in px and surface of each pixel; `other_` of the other image.
    sign: -1 from left to right (x - disp), +1 from right to left. Only what is in front by more
    than `tolerance_px` covers; the default is for exact disparities.
    """
    H, W = disp.shape
    x = np.arange(W, dtype=np.float32) + np.float32(sign) * disp
    inside = (x >= 0) & (x <= W - 1)
    x = np.clip(x, 0, W - 1)
    row = np.arange(H)[:, None] * W
    nearest = row + np.rint(x).astype(np.int32)
    below, above = row + x.astype(np.int32), row + np.ceil(x).astype(np.int32)
    there = other_disp.ravel()
    # along one unbroken surface the disparity lies between those of the two neighbours
    least = np.minimum(there[below], there[above])
    same = other_number.ravel()[nearest] == number
    front = np.where(same, least, there[nearest])
    return np.asarray(~inside | (front > disp + np.float32(tolerance_px)))
