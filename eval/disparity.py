"""How wrong a disparity map is on the pixels that count, and how wrong over many images.

An error is |predicted - true| in pixels of the image as given. Everything is summed in float64, nothing is
rounded or clipped, and both reductions that the field uses are here under their own names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BAD_PX = (1.0, 2.0, 3.0)
D1_PX, D1_SHARE = 3.0, 0.05  # KITTI 2015 (Menze and Geiger): beyond both


@dataclass(frozen=True)
class DisparityScore:
    """Errors on the pixels that count: of one image, or of several."""

    pixels: int  # that count
    epe: float  # mean error, px; of finite predictions
    bad: tuple[float, float, float]  # share of pixels with an error above 1, 2 and 3 px
    d1: float  # share with an error above 3 px and above 5 % of the truth
    invalid: float  # share without a finite prediction; these are bad and D1 too


def score_disparity(disp: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> DisparityScore:
    """Errors of disp (H, W) against truth (H, W) where counts (H, W) bool.

    Raises:
        ValueError: unequal sizes, or a truth that is not finite where it counts.
    """
    if not disp.shape == truth.shape == counts.shape:
        raise ValueError(
            f"disparity, truth and mask must have one size, got {disp.shape}, {truth.shape}, "
            f"{counts.shape}"
        )
    wanted = truth[counts].astype(np.float64)
    if not np.isfinite(wanted).all():
        raise ValueError("truth must be finite where it counts; leave the unknown out of the mask")
    error = np.abs(disp[counts].astype(np.float64) - wanted)
    valid = np.isfinite(error)
    error[~valid] = np.inf
    outlier = (error > D1_PX) & (error > D1_SHARE * wanted)
    b1, b2, b3 = (_share(error > limit) for limit in BAD_PX)
    epe = float(error[valid].mean()) if valid.any() else float("nan")
    return DisparityScore(error.size, epe, (b1, b2, b3), _share(outlier), _share(~valid))


def occlusion_iou(predicted: np.ndarray, occluded: np.ndarray, counts: np.ndarray) -> float:
    """Overlap of the pixels that are said to be occluded with those that are, over their union.

    Of the occluded class alone, unlike STTR's figure, which the many visible pixels raise. NaN where
    neither has any.

    Args:
        predicted: (H, W) bool.
        occluded: (H, W) bool.
        counts: (H, W) bool, where the truth is known.
    """
    union = int(((predicted | occluded) & counts).sum())
    return int((predicted & occluded & counts).sum()) / union if union else float("nan")


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if chosen.size else float("nan")


def mean_of_images(scores: Sequence[DisparityScore]) -> DisparityScore:
    """Every image weighs the same, as in Middlebury's and SceneFlow's tables; empty ones are left out."""
    return _weighted(scores, [1.0 if score.pixels else 0.0 for score in scores])


def pooled(scores: Sequence[DisparityScore]) -> DisparityScore:
    """Every pixel weighs the same, as in KITTI's D1 and STTR's 3 px error."""
    return _weighted(scores, [float(score.pixels) for score in scores])


def _weighted(scores: Sequence[DisparityScore], weights: Sequence[float]) -> DisparityScore:
    full = [(score, weight) for score, weight in zip(scores, weights, strict=True) if weight]
    pixels = sum(score.pixels for score, _ in full)
    if not full:
        nan = float("nan")
        return DisparityScore(0, nan, (nan, nan, nan), nan, nan)
    share = np.array([weight for _, weight in full])
    # The mean error of an image is that of its valid pixels alone.
    valid = share * [1 - score.invalid for score, _ in full]
    epe = np.array([score.epe for score, _ in full])
    known = np.isfinite(epe)
    mean_epe = np.average(epe[known], weights=valid[known]) if known.any() else float("nan")
    rates = np.array([[*score.bad, score.d1, score.invalid] for score, _ in full])
    b1, b2, b3, d1, invalid = (float(rate) for rate in np.average(rates, axis=0, weights=share))
    return DisparityScore(pixels, float(mean_epe), (b1, b2, b3), d1, invalid)
