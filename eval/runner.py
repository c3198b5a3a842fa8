"""The two passes over a benchmark: matches into a file, then scores from the file."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from eval.benchmarks import Benchmark
from eval.estimators import Estimator
from eval.methods import Method, PairMatcher
from eval.pairs import ImagePair
from eval.predictions import Prediction, PredictionStore, read_predictions
from eval.resized import ResizedImage, read_resized
from eval.scores import PairScore, Summary, score_pair, summarise

# What a matcher may raise for a pair that it cannot do; the pair then counts as failed and is shown.
MATCH_FAILURES = (ValueError, TypeError, RuntimeError, MemoryError, cv2.error)


@dataclass(frozen=True)
class Result:
    """Scores of a method on a benchmark under one estimator."""

    benchmark: Benchmark
    method: str
    identity: str
    estimator: Estimator
    summary: Summary
    scores: tuple[PairScore, ...]


def run(benchmark: Benchmark, method: Method, data: Path, out: Path) -> list[Result]:
    """Scores `method` on `benchmark`, one result an estimator, going on from what lies in `out`."""
    pairs = benchmark.pairs(data)
    store = PredictionStore(
        out / benchmark.name / method.name, _identity(benchmark, pairs, method), benchmark.name
    )
    if not store.is_complete():
        predict(benchmark, pairs, method, store)
    return score(benchmark, pairs, method, store.file)


def _identity(benchmark: Benchmark, pairs: Sequence[ImagePair], method: Method) -> str:
    return f"{method.identity}; {len(pairs)} pairs; long side {benchmark.long_side}"


def predict(
    benchmark: Benchmark, pairs: Sequence[ImagePair], method: Method, store: PredictionStore
) -> None:
    """First pass: matches all pairs that are not in `store` yet."""
    matcher = method.load()
    for number, pair in enumerate(tqdm(pairs, f"{benchmark.name}, {method.name}", disable=None)):
        if not store.has(number):
            store.add(number, predict_pair(matcher, pair, benchmark.long_side))
    store.finish([pair.name for pair in pairs])


def predict_pair(matcher: PairMatcher, pair: ImagePair, long_side: int) -> Prediction:
    """What `matcher` gives for `pair`. An image that cannot be read raises: the data set is broken."""
    image0, image1 = (read_resized(path, long_side) for path in (pair.path0, pair.path1))
    start = time.perf_counter()
    try:
        matches = matcher.match(image0.rgb, image1.rgb)
    except MATCH_FAILURES as error:
        empty = np.zeros((0, 2), np.float32)
        reason = f"{type(error).__name__}: {error}"
        return _prediction(image0, image1, (empty, empty, np.zeros(0, np.float32)), 0.0, reason)
    seconds = time.perf_counter() - start
    arrays = (matches.kpts0, matches.kpts1, matches.confidence)
    return _prediction(image0, image1, arrays, seconds)


def _prediction(
    image0: ResizedImage,
    image1: ResizedImage,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    seconds: float,
    error: str = "",
) -> Prediction:
    (height0, width0), (height1, width1) = image0.rgb.shape[:2], image1.rgb.shape[:2]
    return Prediction(
        *arrays,
        size0=(height0, width0),
        size1=(height1, width1),
        scale0=image0.scale,
        scale1=image1.scale,
        seconds=seconds,
        error=error,
    )


def score(
    benchmark: Benchmark, pairs: Sequence[ImagePair], method: Method, predictions: Path
) -> list[Result]:
    """Second pass: scores the file `predictions` under each estimator of `benchmark`."""
    found = list(read_predictions(predictions))
    results = []
    for estimator in benchmark.estimators:
        scores = tuple(
            score_pair(name, prediction, pair.truth, estimator)
            for pair, (name, prediction) in zip(pairs, found, strict=True)
        )
        summary = summarise(scores, benchmark.thresholds)
        identity = _identity(benchmark, pairs, method)
        results.append(Result(benchmark, method.name, identity, estimator, summary, scores))
    return results
