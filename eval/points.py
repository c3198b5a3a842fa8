"""How well given points are found: by the point decoder, and by the matches of the same matcher around them.

Sets are synthetic pairs of photographs that were never trained on, pairs with a homography and rectified
pairs with disparity; every point that the second image shows counts, found or not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from data_scripts.train_loop import VALIDATION_SEED
from eval.image_source import read_source
from eval.pairs import HomographyTruth, ImagePair
from eval.stereo_pairs import StereoPair
from matching.data import PairBatches, PairSettings
from matching.geometry import warp_points
from matching.matches import Matches
from matching.point_data import drawn_points
from matching.point_prediction import PointMatches

LIMITS_PX = (1.0, 3.0, 5.0)
NEAR_PX = 16.0  # a match at most so far from a point, two coarse cells, speaks for it
CENTRE = 3.5  # px: where the middle of a coarse cell lies in it; labels of cells are not used here


@dataclass(frozen=True)
class KnownPoints:
    """One pair, points of its image 0, and where they are in image 1."""

    image0: Any  # whatever the predictor takes
    image1: Any
    points0: np.ndarray  # (N, 2) px
    points1: np.ndarray  # (N, 2) px, anything where not visible
    visible: np.ndarray  # (N,) bool


@dataclass(frozen=True)
class PointScore:
    """Accuracy on one set."""

    name: str  # of the set
    method: str
    threshold: float  # confidence from which an answer counts
    pairs: int
    points: int  # that are visible
    within_1px: float  # share of those, found and at most so far off
    within_3px: float
    within_5px: float
    precision_5px: float  # share of the points said to be visible that are, and within 5 px


class Predictor(Protocol):
    """What is asked: `MatchPredictor`."""

    def match(self, image0: Any, image1: Any) -> Matches: ...  # noqa: D102

    def match_points(  # noqa: D102
        self, image0: Any, image1: Any, points: np.ndarray, *, min_confidence: float
    ) -> PointMatches: ...


Answer = tuple[np.ndarray, np.ndarray]  # places (N, 2), NaN where there is none, confidence (N,)


def by_decoder(predictor: Predictor, pair: KnownPoints) -> Answer:
    """Answers of the point decoder, however unsure."""
    found = predictor.match_points(pair.image0, pair.image1, pair.points0, min_confidence=0)
    return found.points1, found.confidence


def by_nearest_match(predictor: Predictor, pair: KnownPoints) -> Answer:
    """Answers of the matches of the images: each point moves as the match nearest to it does.

    The confidence is 1 where that is within `NEAR_PX`, else 0.
    """
    matches = predictor.match(pair.image0, pair.image1)
    if not len(matches):
        return np.full(pair.points0.shape, np.nan), np.zeros(len(pair.points0))
    away = np.linalg.norm(pair.points0[:, None] - matches.kpts0[None], axis=2)
    moved = pair.points0 + (matches.kpts1 - matches.kpts0)[away.argmin(1)]
    return moved, (away.min(1) <= NEAR_PX).astype(np.float64)


METHODS: dict[str, Callable[[Predictor, KnownPoints], Answer]] = {
    "point decoder": by_decoder,
    "nearest match": by_nearest_match,
}
THRESHOLDS = (0.5, 0.0)  # confidence from which an answer counts; 0 takes every answer


def scores(name: str, predictor: Predictor, pairs: Sequence[KnownPoints]) -> Iterator[PointScore]:
    """Accuracy of each method and threshold on the pooled points of some pairs."""
    for method, ask in METHODS.items():
        answers = [ask(predictor, pair) for pair in pairs]
        for threshold in THRESHOLDS:
            yield _score(name, method, threshold, pairs, answers)


def _score(
    name: str,
    method: str,
    threshold: float,
    pairs: Sequence[KnownPoints],
    answers: Sequence[Answer],
) -> PointScore:
    distances, correct = [], []
    for pair, (places, confidence) in zip(pairs, answers, strict=True):
        said = np.isfinite(places).all(1) & (confidence >= threshold)
        away = np.where(said, np.linalg.norm(places - pair.points1, axis=1), np.inf)
        distances.append(away[pair.visible])
        correct.append((pair.visible & (away <= LIMITS_PX[-1]))[said])
    pooled = np.concatenate(distances)
    one, three, five = (_share(pooled <= limit) for limit in LIMITS_PX)
    precision = _share(np.concatenate(correct))
    return PointScore(name, method, threshold, len(pairs), len(pooled), one, three, five, precision)


def _share(chosen: np.ndarray) -> float:
    """How many of (P,) bool are true; NaN of nothing."""
    return float(chosen.mean()) if len(chosen) else float("nan")


def synthetic_pairs(
    photos: Sequence[np.ndarray], count: int, points: int, side: int
) -> Iterator[KnownPoints]:
    """Pairs of side x side pixels, of the difficulty that training validates on."""
    settings = PairSettings(sizes=((side, side),), batch=1, scenes=0.3, easy=0.6, ramp=10**9)
    data = PairBatches(photos, settings, CENTRE, VALIDATION_SEED)
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    for number in range(count):
        view = data.views(number)[0]
        points0, points1, visible = drawn_points(view, points, generator)
        yield KnownPoints(
            view.image0, view.image1, points0.numpy(), points1.numpy(), visible.numpy()
        )


def homography_points(pair: ImagePair, count: int, seed: int = 0) -> KnownPoints:
    """Points anywhere in image 0 of a pair with a known homography."""
    if not isinstance(pair.truth, HomographyTruth):
        raise ValueError(f"{pair.name}: wanted a pair with H_0to1, got another truth")
    image0, image1 = read_source(pair.image0), read_source(pair.image1)
    (H0, W0), (H1, W1) = image0.shape[:2], image1.shape[:2]
    points0 = np.random.default_rng(seed).random((count, 2)) * (W0 - 1, H0 - 1)
    points1 = warp_points(points0, pair.truth.H_0to1)
    inside = np.all((points1 >= 0) & (points1 <= (W1 - 1, H1 - 1)), axis=1)
    return KnownPoints(image0, image1, points0, points1, inside)


def disparity_points(pair: StereoPair, count: int, seed: int = 0) -> KnownPoints:
    """Pixels of the left image whose disparity is known; those that are covered are not visible."""
    truth = pair.truth()
    rows, columns = np.nonzero(np.isfinite(truth.disp))
    some = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    x, y = columns[some].astype(np.float64), rows[some].astype(np.float64)
    there = np.stack([x - truth.disp[rows[some], columns[some]], y], 1)
    visible = truth.visible[rows[some], columns[some]]
    left, right = read_source(pair.left), read_source(pair.right)
    return KnownPoints(left, right, np.stack([x, y], 1), there, visible)
