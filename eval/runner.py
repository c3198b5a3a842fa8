"""A matcher over a benchmark of matching: matches into a file, then scores from the file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_scripts.stopwatch import Stopwatch
from eval.adapters import RecordedFile
from eval.benchmarks import Benchmark
from eval.environment import environment
from eval.estimators import Estimator
from eval.journal import Row
from eval.methods import Method, PairMatcher, digest, sources
from eval.pairs import ImagePair, Truth
from eval.passes import RunOptions, digest_of, no_reader, predict_all, score_all
from eval.predictions import Prediction, PredictionStore, read_prediction
from eval.resized import ResizedImage, Sizing, read_resized, resize_transform
from eval.scores import PairScore, Summary, score_pair, summarise
from eval.set_place import lacks
from matching.geometry import warp_points
from matching.matches import Matches

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
    pairs: tuple[ImagePair, ...]  # in the order of the scores
    predictions: Path
    lacks: tuple[str, ...] = ()  # what the set says is missing of it, a line each


@dataclass(frozen=True)
class ScoreTask:
    """What one process needs to score one pair."""

    predictions: Path
    number: int
    truth: Truth
    benchmark: Benchmark


def run(
    benchmark: Benchmark,
    method: Method,
    data: Path,
    out: Path,
    options: RunOptions | None = None,
) -> list[Result]:
    """Scores `method` on `benchmark`, one result an estimator, going on from what lies in `out`.

    Estimators that are not installed are left out; `left_out` says which.
    """
    options = options or RunOptions()
    if options.repeats:
        benchmark = replace(benchmark, repeats=options.repeats)
    pairs = benchmark.pairs(data)[: options.limit]
    folder = out / benchmark.name / method.name
    identity = _identity(benchmark, pairs, method)
    store = PredictionStore(folder, identity, _notes(benchmark, method))
    if not store.is_complete():
        predict(benchmark, pairs, method, store)
    results = score(benchmark, pairs, method, store.file, options)
    missing = lacks(benchmark.find(data))
    return [replace(result, lacks=missing) for result in results]


def _identity(benchmark: Benchmark, pairs: Sequence[ImagePair], method: Method) -> str:
    names = digest_of([(pair.name, str(pair.image0), str(pair.image1)) for pair in pairs])
    kept = f"; {benchmark.max_matches} matches" if benchmark.max_matches else ""
    return f"{method.identity}; {len(pairs)} pairs {names}; {benchmark.sizing}{kept}"


def _notes(benchmark: Benchmark, method: Method) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "config": {"method": method.name, "identity": method.identity, **config(benchmark)},
        "environment": environment(),
    }


def config(benchmark: Benchmark) -> dict[str, Any]:
    """Every knob of the benchmark."""
    left_aside = ("read", "read_h5", "estimators", "name", "published", "anywhere")
    knobs = {key: value for key, value in vars(benchmark).items() if key not in left_aside}
    return knobs | {"sizing": asdict(benchmark.sizing)}


def left_out(benchmark: Benchmark) -> list[str]:
    """Which estimators of the benchmark are not installed, and what to do about it."""
    return [
        f"{each.short} left out: {each.missing}" for each in benchmark.estimators if each.missing
    ]


def predict(
    benchmark: Benchmark, pairs: Sequence[ImagePair], method: Method, store: PredictionStore
) -> None:
    """First pass: matches all pairs that are not in `store` yet."""
    matcher = method.load()

    def one(number: int) -> Prediction:
        pair = pairs[number]
        if isinstance(matcher, RecordedFile):
            found = recorded(matcher, pair, benchmark.sizing)
        else:
            found = predict_pair(matcher, pair, benchmark.sizing)
        return _best(found, benchmark.max_matches)

    predict_all(store, [pair.name for pair in pairs], one, f"{benchmark.name}, {method.name}")


def _best(found: Prediction, count: int | None) -> Prediction:
    arrays = {key: getattr(found, key)[:count] for key in ("kpts0", "kpts1", "confidence")}
    return replace(found, **arrays)


def predict_pair(matcher: PairMatcher, pair: ImagePair, sizing: Sizing) -> Prediction:
    """What `matcher` gives for `pair`. An image that cannot be read raises: the data set is broken."""
    image0, image1 = (read_resized(source, sizing) for source in (pair.image0, pair.image1))
    try:
        with Stopwatch() as took:
            matches = matcher.match(image0.rgb, image1.rgb)
    except MATCH_FAILURES as error:
        empty = np.zeros((0, 2), np.float32)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _prediction(image0, image1, Matches(empty, empty, empty[:, 0]), 0.0, reason)
    return _prediction(image0, image1, matches, took.seconds)


def recorded(file: RecordedFile, pair: ImagePair, sizing: Sizing) -> Prediction:
    """What the file says of `pair`, at the size of the protocol; the time is not known."""
    image0, image1 = (read_resized(source, sizing) for source in (pair.image0, pair.image1))
    given = file.matches(pair.name)
    kpts0, kpts1 = (
        warp_points(kpts.astype(np.float64), resize_transform(image.scale))
        for kpts, image in ((given.kpts0, image0), (given.kpts1, image1))
    )
    return _prediction(image0, image1, Matches(kpts0, kpts1, given.confidence), float("nan"))


def _prediction(
    image0: ResizedImage, image1: ResizedImage, matches: Matches, seconds: float, error: str = ""
) -> Prediction:
    (height0, width0), (height1, width1) = image0.rgb.shape[:2], image1.rgb.shape[:2]
    return Prediction(
        matches.kpts0,
        matches.kpts1,
        matches.confidence,
        size0=(height0, width0),
        size1=(height1, width1),
        scale0=image0.scale,
        scale1=image1.scale,
        seconds=seconds,
        error=error,
    )


def score(
    benchmark: Benchmark,
    pairs: Sequence[ImagePair],
    method: Method,
    predictions: Path,
    options: RunOptions,
) -> list[Result]:
    """Second pass: scores the file `predictions` under each estimator of `benchmark`."""
    identity = _identity(benchmark, pairs, method)
    usable = tuple(each for each in benchmark.estimators if not each.missing)
    sendable = replace(
        benchmark, estimators=usable, read=no_reader, read_h5=no_reader
    )  # to a process
    tasks = [ScoreTask(predictions, n, pair.truth, sendable) for n, pair in enumerate(pairs)]
    rules = digest_of([config(benchmark), list(map(str, usable)), digest(sources("eval"))])
    rows = score_all(
        predictions.with_name("scores.jsonl"),
        f"{identity}; scored by {rules}",
        tasks,
        score_task,
        f"{benchmark.name}, {method.name}, scores",
        options.workers,
    )
    results = []
    for number, estimator in enumerate(usable):
        scores = tuple(_pair_score(row["scores"][number]) for row in rows)
        summary = summarise(scores, benchmark.thresholds, benchmark.unit)
        results.append(
            Result(
                benchmark,
                method.name,
                identity,
                estimator,
                summary,
                scores,
                tuple(pairs),
                predictions,
            )
        )
    return results


def score_task(task: ScoreTask) -> Row:
    """The scores of one pair under all estimators of its benchmark."""
    name, prediction = read_prediction(task.predictions, task.number, Prediction)
    benchmark = task.benchmark
    scores = score_pair(
        name, prediction, task.truth, benchmark.estimators, benchmark.repeats, benchmark.pixels
    )
    return {"scores": [asdict(score) for score in scores]}


def _pair_score(row: Row) -> PairScore:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return PairScore(**values)
