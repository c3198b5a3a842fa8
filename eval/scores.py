"""How good one prediction is under each estimator, and how good all of them are together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.auc import error_auc
from eval.estimators import Estimator
from eval.homography import corner_error_px, estimate_homography
from eval.pairs import HomographyTruth, PoseTruth, Truth
from eval.pose import epipolar_errors, estimate_pose, pose_error_deg
from eval.predictions import Prediction
from eval.resized import resize_transform, resized_homography, resized_intrinsics
from matching.geometry import warp_points
from matching.robust_backends import NoEstimateError

CORRECT_EPIPOLAR = (5e-4, 1e-4)  # LoFTR's values for ScanNet and for MegaDepth
CORRECT_PX = (1.0, 2.0, 3.0, 5.0, 10.0)
Pixels = Literal["resized", "original"]


@dataclass(frozen=True)
class PairScore:
    """Score of one pair under one estimator."""

    name: str
    errors: tuple[float, ...]  # in the unit of the benchmark, one a repeat; infinite when failed
    correct: tuple[float, ...]  # share of matches that are right, a threshold each; 0 for none
    matches: int
    seconds: float  # of the match
    inliers: float = 0.0  # mean over the repeats
    estimator_seconds: float = 0.0  # of one estimate
    failure: str = ""  # why the first estimate that failed did

    @property
    def failed(self) -> int:
        """How many of the estimates failed."""
        return int(np.isinf(self.errors).sum())

    @property
    def error(self) -> float:
        """Median over the repeats."""
        return float(np.sort(self.errors)[len(self.errors) // 2])


@dataclass(frozen=True)
class Summary:
    """Scores of all pairs of a benchmark under one estimator."""

    pairs: int
    repeats: int
    failed: int  # estimates that failed, of pairs * repeats; their error is infinite
    auc: dict[str, float]  # threshold -> area in [0, 1], mean over the repeats
    deviation: dict[str, float]  # sample standard deviation over the repeats; NaN for one repeat
    auc_pooled: dict[str, float]  # the errors of all repeats in one list, as EfficientLoFTR does
    correct: dict[str, float]  # threshold -> share of right matches, mean over pairs
    mean_matches: float
    mean_inliers: float
    median_seconds: float
    median_estimator_seconds: float


@dataclass(frozen=True)
class PixelMatches:
    """Matches and truth in the pixels that the protocol counts in."""

    kpts0: np.ndarray  # (N, 2)
    kpts1: np.ndarray
    truth: Truth
    size0: tuple[int, int]


def in_pixels(prediction: Prediction, truth: Truth, pixels: Pixels) -> PixelMatches:
    """Matches and truth in pixels of the resized images, or of the image files."""
    scale0, scale1 = prediction.scale0, prediction.scale1
    kpts0, kpts1 = prediction.kpts0.astype(np.float64), prediction.kpts1.astype(np.float64)
    (h0, w0), (h1, w1) = prediction.size0, prediction.size1
    if pixels == "original":
        kpts0, kpts1 = (
            warp_points(kpts, np.linalg.inv(resize_transform(scale)))
            for kpts, scale in ((kpts0, scale0), (kpts1, scale1))
        )
        h0, w0 = round(h0 / scale0[1]), round(w0 / scale0[0])
        h1, w1 = round(h1 / scale1[1]), round(w1 / scale1[0])
        scale0 = scale1 = (1.0, 1.0)
    if isinstance(truth, HomographyTruth):
        H = resized_homography(truth.H_0to1, scale0, scale1)
        return PixelMatches(kpts0, kpts1, HomographyTruth(H), (h0, w0))
    if truth.K_size is not None:
        height, width = truth.K_size
        scale0, scale1 = (w0 / width, h0 / height), (w1 / width, h1 / height)
    K0, K1 = resized_intrinsics(truth.K0, scale0), resized_intrinsics(truth.K1, scale1)
    return PixelMatches(kpts0, kpts1, PoseTruth(K0, K1, truth.T_0to1), (h0, w0))


def score_pair(
    name: str,
    prediction: Prediction,
    truth: Truth,
    estimators: Sequence[Estimator],
    repeats: int = 1,
    pixels: Pixels = "resized",
) -> list[PairScore]:
    """The score of one prediction under each estimator.

    The first repeat takes the matches in their order; repeat n, n > 0, shuffles them with seed n, because
    what a robust estimator draws depends on the order.
    """
    given = in_pixels(prediction, truth, pixels)
    correct = correct_shares(given)
    return [
        _score(name, prediction, given, correct, (estimator, repeats)) for estimator in estimators
    ]


def _score(
    name: str,
    prediction: Prediction,
    given: PixelMatches,
    correct: tuple[float, ...],
    setting: tuple[Estimator, int],
) -> PairScore:
    estimator, repeats = setting
    errors, inliers, failure = [], [], prediction.error
    start = time.perf_counter()
    for seed in range(repeats):
        error, count = np.inf, 0
        if not prediction.error:
            try:
                error, count = _estimate_error(_shuffled(given, seed), estimator)
            except NoEstimateError as reason:
                failure = failure or str(reason)
        errors.append(float(error))
        inliers.append(count)
    seconds = (time.perf_counter() - start) / repeats
    count, mean = len(prediction.kpts0), float(np.mean(inliers))
    return PairScore(
        name, tuple(errors), correct, count, prediction.seconds, mean, seconds, failure
    )


def _shuffled(given: PixelMatches, seed: int) -> PixelMatches:
    if seed == 0:
        return given
    order = np.random.default_rng(seed).permutation(len(given.kpts0))
    return PixelMatches(given.kpts0[order], given.kpts1[order], given.truth, given.size0)


def _estimate_error(given: PixelMatches, estimator: Estimator) -> tuple[float, int]:
    """The error, and how many matches the estimate rests on."""
    if isinstance(given.truth, PoseTruth):
        truth = given.truth
        pose = estimate_pose(given.kpts0, given.kpts1, truth.K0, truth.K1, estimator)
        return pose_error_deg(pose, truth.T_0to1), int(pose.inliers.sum())
    H = estimate_homography(given.kpts0, given.kpts1, estimator)
    near = _transfer_px(given, H) < estimator.threshold_px
    return corner_error_px(H, given.truth.H_0to1, *given.size0), int(near.sum())


def _transfer_px(given: PixelMatches, H: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.linalg.norm(warp_points(given.kpts0, H) - given.kpts1, axis=1)


def correct_shares(given: PixelMatches) -> tuple[float, ...]:
    """Share of matches that are right: by CORRECT_EPIPOLAR of a pose, by CORRECT_PX of a homography.

    The first is the precision of SuperGlue and LoFTR, the second the matching accuracy of D2-Net whose
    mean over pairs is called MMA. 0 where there are no matches.
    """
    if isinstance(given.truth, PoseTruth):
        truth = given.truth
        errors = epipolar_errors(given.kpts0, given.kpts1, truth.K0, truth.K1, truth.T_0to1)
    else:
        errors = _transfer_px(given, given.truth.H_0to1)
    limits = limits_of("deg" if isinstance(given.truth, PoseTruth) else "px")
    if not len(errors):
        return (0.0,) * len(limits)
    return tuple(float((errors < limit).mean()) for limit in limits)


def limits_of(unit: str) -> tuple[float, ...]:
    """The thresholds of `PairScore.correct` on a benchmark whose errors have that unit."""
    return CORRECT_EPIPOLAR if unit == "deg" else CORRECT_PX


def summarise(scores: Sequence[PairScore], thresholds: Sequence[float], unit: str) -> Summary:
    """Area under the curve at each threshold, and means over the pairs."""
    errors = np.array([score.errors for score in scores])  # (pairs, repeats)
    repeats = errors.shape[1]
    names = [f"{threshold:g}" for threshold in thresholds]
    areas = np.array([[error_auc(each, limit) for each in errors.T] for limit in thresholds])
    spread = areas.std(1, ddof=1) if repeats > 1 else np.full(len(thresholds), np.nan)
    shares = np.mean([score.correct for score in scores], axis=0)
    return Summary(
        pairs=len(scores),
        repeats=repeats,
        failed=sum(score.failed for score in scores),
        auc=dict(zip(names, areas.mean(1).tolist(), strict=True)),
        deviation=dict(zip(names, spread.tolist(), strict=True)),
        auc_pooled={name: error_auc(errors.ravel(), float(name)) for name in names},
        correct={f"{t:g}": float(s) for t, s in zip(limits_of(unit), shares, strict=True)},
        mean_matches=float(np.mean([score.matches for score in scores])),
        mean_inliers=float(np.mean([score.inliers for score in scores])),
        median_seconds=float(np.median([score.seconds for score in scores])),
        median_estimator_seconds=float(np.median([score.estimator_seconds for score in scores])),
    )
