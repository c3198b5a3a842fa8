"""How good one prediction is, and how good all of them are together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.auc import error_auc
from eval.estimators import Estimator, NoEstimateError
from eval.homography import corner_error_px, estimate_homography, warp_points
from eval.pairs import HomographyTruth, PoseTruth, Truth
from eval.pose import epipolar_errors, epipolar_precision, estimate_pose, pose_error_deg
from eval.predictions import Prediction
from eval.resized import resized_homography, resized_intrinsics

CORRECT_PX = 3.0  # a match is right under a known homography when it is closer than this
CORRECT_EPIPOLAR = (
    5e-4  # and under a known pose, in squared normalised coordinates (LoFTR's ScanNet value)
)
PRECISION_RULE = {
    "deg": f"epipolar < {CORRECT_EPIPOLAR:g}",
    "px": f"reprojection < {CORRECT_PX:g} px",
}


@dataclass(frozen=True)
class PairScore:
    """Score of one pair under one estimator."""

    name: str
    error: float  # in the unit of the benchmark; infinite when failed
    precision: float  # share of matches that are right, 0 where there are none
    matches: int
    seconds: float
    failure: str = ""  # why there is no estimate


@dataclass(frozen=True)
class Summary:
    """Scores of all pairs of a benchmark under one estimator."""

    pairs: int
    failed: int  # pairs without an estimate; their error is infinite
    auc: dict[str, float]  # threshold -> area in [0, 1]
    precision: float  # mean over pairs
    mean_matches: float
    median_seconds: float


def score_pair(name: str, prediction: Prediction, truth: Truth, estimator: Estimator) -> PairScore:
    """The score of one prediction; all in pixels of the resized images."""
    failure = prediction.error
    error = float("inf")
    if not failure:
        try:
            error = _estimate_error(prediction, truth, estimator)
        except NoEstimateError as reason:
            failure = str(reason)
    precision = _precision(prediction, truth)
    return PairScore(name, error, precision, len(prediction.kpts0), prediction.seconds, failure)


def _estimate_error(prediction: Prediction, truth: Truth, estimator: Estimator) -> float:
    kpts0, kpts1 = prediction.kpts0, prediction.kpts1
    if isinstance(truth, PoseTruth):
        K0, K1 = (
            resized_intrinsics(truth.K0, prediction.scale0),
            resized_intrinsics(truth.K1, prediction.scale1),
        )
        return pose_error_deg(estimate_pose(kpts0, kpts1, K0, K1, estimator), truth.T_0to1)
    H = estimate_homography(kpts0, kpts1, estimator)
    return corner_error_px(H, _resized_truth(prediction, truth), *prediction.size0)


def _precision(prediction: Prediction, truth: Truth) -> float:
    kpts0, kpts1 = prediction.kpts0, prediction.kpts1
    if isinstance(truth, PoseTruth):
        K0, K1 = (
            resized_intrinsics(truth.K0, prediction.scale0),
            resized_intrinsics(truth.K1, prediction.scale1),
        )
        errors = epipolar_errors(kpts0, kpts1, K0, K1, truth.T_0to1)
        return epipolar_precision(errors, CORRECT_EPIPOLAR)
    moved = warp_points(kpts0.astype(np.float64), _resized_truth(prediction, truth))
    right = np.linalg.norm(moved - kpts1, axis=1) < CORRECT_PX
    return float(right.mean()) if len(right) else 0.0


def _resized_truth(prediction: Prediction, truth: HomographyTruth) -> np.ndarray:
    return resized_homography(truth.H_0to1, prediction.scale0, prediction.scale1)


def summarise(scores: Sequence[PairScore], thresholds: Sequence[float]) -> Summary:
    """Area under the curve at each threshold, and means over the pairs."""
    errors = np.array([score.error for score in scores])
    return Summary(
        pairs=len(scores),
        failed=sum(bool(score.failure) for score in scores),
        auc={f"{threshold:g}": error_auc(errors, threshold) for threshold in thresholds},
        precision=float(np.mean([score.precision for score in scores])),
        mean_matches=float(np.mean([score.matches for score in scores])),
        median_seconds=float(np.median([score.seconds for score in scores])),
    )
