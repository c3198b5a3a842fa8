"""How wrong a disparity map is on the pixels that count, and how wrong over many images.

An error is |predicted - true| in pixels of the image as given. Everything is counted in integers or summed in
float64, nothing is rounded or clipped, and both reductions that the field uses are here under their own names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BAD_PX = (0.5, 1.0, 2.0, 3.0, 4.0)
D1_PX, D1_SHARE = 3.0, 0.05  # KITTI 2015 (Menze and Geiger): beyond both
NAN = float("nan")


@dataclass(frozen=True)
class DisparityScore:
    """Errors on the pixels that count: of one image, or of several."""

    pixels: int  # that count
    epe: float  # mean error, px; of finite predictions
    bad: tuple[float, ...]  # share of pixels with an error above each of BAD_PX
    d1: float  # share with an error above 3 px and above 5 % of the truth
    invalid: float  # share without a finite prediction; these are bad and D1 too

    def above(self, limit_px: float) -> float:
        """Share of pixels with an error above `limit_px`, which is one of BAD_PX."""
        return self.bad[BAD_PX.index(limit_px)]


@dataclass(frozen=True)
class DisparityCounts:
    """The same before any division, so that images can be put together in any order and grouping."""

    pixels: int
    valid: int  # with a finite prediction
    error_sum: float  # px, of the valid ones
    bad: tuple[int, ...]
    outliers: int  # of D1

    def score(self) -> DisparityScore:
        """The shares; NaN where nothing counts."""
        if not self.pixels:
            return DisparityScore(0, NAN, (NAN,) * len(BAD_PX), NAN, NAN)
        return DisparityScore(
            self.pixels,
            self.error_sum / self.valid if self.valid else NAN,
            tuple(count / self.pixels for count in self.bad),
            self.outliers / self.pixels,
            1 - self.valid / self.pixels,
        )


def count_disparity(disp: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> DisparityCounts:
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
    outlier = (error > D1_PX) & (error > D1_SHARE * np.abs(wanted))
    return DisparityCounts(
        error.size,
        int(valid.sum()),
        float(error[valid].sum()),
        tuple(int((error > limit).sum()) for limit in BAD_PX),
        int(outlier.sum()),
    )


def score_disparity(disp: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> DisparityScore:
    """`count_disparity` as shares."""
    return count_disparity(disp, truth, counts).score()


def mean_of_images(
    images: Sequence[DisparityCounts], weights: Sequence[float] | None = None
) -> DisparityScore:
    """Every image weighs the same, or its weight, as in Middlebury's tables; empty ones are left out.

    An image without one finite prediction has no mean error, and is left out of that alone.
    """
    given = [1.0] * len(images) if weights is None else weights
    full = [
        (image.score(), weight)
        for image, weight in zip(images, given, strict=True)
        if image.pixels and weight
    ]
    if not full:
        return DisparityScore(0, NAN, (NAN,) * len(BAD_PX), NAN, NAN)
    share = [weight for _, weight in full]
    known = [(score.epe, weight) for score, weight in full if math.isfinite(score.epe)]
    rates = np.array([[*score.bad, score.d1, score.invalid] for score, _ in full])
    *bad, d1, invalid = (float(rate) for rate in np.average(rates, axis=0, weights=share))
    epe = math.fsum(e * w for e, w in known) / math.fsum(w for _, w in known) if known else NAN
    return DisparityScore(sum(score.pixels for score, _ in full), epe, tuple(bad), d1, invalid)


def pooled(images: Sequence[DisparityCounts]) -> DisparityScore:
    """Every pixel weighs the same, as in KITTI's D1 and STTR's 3 px error."""
    return together(images).score()


def together(images: Sequence[DisparityCounts]) -> DisparityCounts:
    """The counts of several images as if they were one; the order does not matter."""
    bad = np.array([image.bad for image in images] or [(0,) * len(BAD_PX)]).sum(0)
    return DisparityCounts(
        sum(image.pixels for image in images),
        sum(image.valid for image in images),
        math.fsum(image.error_sum for image in images),
        tuple(int(count) for count in bad),
        sum(image.outliers for image in images),
    )
