"""Semi-global matching (Hirschmueller, PAMI 2008) by OpenCV, and what it does for a network's weak places.

Where a surface shows little texture, a network that knows it only at a quarter of the size is off by pixels,
and says so by the error that it expects. Semi-global matching works at full size and fails elsewhere: at
depth edges, without any texture, on repeated patterns. So the sure answers of the network stand, and the
rest comes from the other where that is plausible. Nothing in it is learned, and no range is asked for: the
sure disparities tell it.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

WINDOW = 5  # px
STEP = 16  # OpenCV wants a multiple of it as the number of disparities
SCALE = 16  # stored values per pixel of disparity
SURE_PX = 1.5  # expected error up to which a network's answer stands
PLAUSIBLE = 2.0  # expected errors by which another answer may be off the network's
TOP_SHARE = 0.999  # of the sure disparities; those above are taken for errors
MARGIN, MARGIN_PX = 1.1, 8  # the range reaches so far beyond


def with_semi_global(left: Tensor, right: Tensor, disp: Tensor, spread: Tensor) -> Tensor:
    """Disparity (B, H, W) in px: where the network is not sure, that of semi-global matching.

    Pixels for which that has no answer either get the smaller of the nearest values of their row. An answer
    further from the network's than PLAUSIBLE times the error that it expects is not taken.

    Args:
        left: (B, 3, H, W) RGB in [0, 1].
        right: (B, 3, H, W).
        disp: (B, H, W) px, finite: the network's.
        spread: (B, H, W) px: the error that it expects.
    """
    pairs = zip(_grey(left), _grey(right), disp, spread, strict=True)
    return torch.stack([_one(*pair) for pair in pairs])


def _grey(images: Tensor) -> list[np.ndarray]:
    """Images (B, 3, H, W) in [0, 1] as arrays (H, W) of bytes."""
    stored = (255 * images.float().clamp(0, 1)).round().byte().permute(0, 2, 3, 1)
    return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in stored.contiguous().cpu().numpy()]


def _one(left: np.ndarray, right: np.ndarray, disp: Tensor, spread: Tensor) -> Tensor:
    own, error = (x.float().cpu().numpy() for x in (disp, spread))
    sure = error <= SURE_PX
    if sure.all():
        return disp
    other = np.where(sure, own, semi_global(left, right, _range(own[sure], left.shape[1])))
    furthest = PLAUSIBLE * error
    other[~(np.abs(other - own) <= furthest)] = np.nan
    filled = fill_background(other)
    taken = np.where(np.abs(filled - own) <= furthest, filled, own)
    return torch.from_numpy(taken).to(disp)


def _range(sure: np.ndarray, width: int) -> int:
    """Disparities to try: beyond the sure ones; a quarter of the width if none is."""
    top = np.quantile(sure, TOP_SHARE) if sure.size else width / 4
    return steps_of(min(MARGIN * top + MARGIN_PX, width))


def steps_of(disparities: float) -> int:
    """A number of disparities rounded up to what OpenCV takes."""
    return STEP * max(1, int(np.ceil(disparities / STEP)))


def semi_global(
    left: np.ndarray,
    right: np.ndarray,
    disparities: int,
    mode: int = cv2.STEREO_SGBM_MODE_SGBM_3WAY,
) -> np.ndarray:
    """Disparity (H, W) float32 in px of the left image, NaN where there is no answer.

    Both images are continued to the left, because OpenCV leaves the first columns of the range without
    any answer.

    Args:
        left: (H, W) or (H, W, 3), uint8.
        right: the same.
        disparities: from 0 up to before this, px; a multiple of STEP.
        mode: which of OpenCV's variants. That with three paths takes the least time and memory.
    """
    channels = left.shape[2] if left.ndim == 3 else 1
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=disparities,
        blockSize=WINDOW,
        P1=8 * channels * WINDOW**2,  # OpenCV's advice
        P2=32 * channels * WINDOW**2,
        disp12MaxDiff=1,
        preFilterCap=31,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=2,
        mode=mode,
    )
    columns = disparities + WINDOW  # OpenCV wants more columns than disparities and half a window
    wide = [
        cv2.copyMakeBorder(image, 0, 0, columns, 0, cv2.BORDER_REPLICATE) for image in (left, right)
    ]
    stored = matcher.compute(*wide)[:, columns:]
    return np.where(stored > 0, stored / np.float32(SCALE), np.float32(np.nan))  # -16: no answer


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
