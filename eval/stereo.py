"""A stereo method over a benchmark: disparities into a file, then scores from the file."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_scripts.stopwatch import Stopwatch
from eval.adapters import RecordedFile
from eval.conventions import ConventionScore, count_by, score_convention
from eval.disparity import (
    DisparityCounts,
    DisparityScore,
    count_disparity,
    mean_of_images,
    pooled,
)
from eval.environment import environment
from eval.image_source import read_source
from eval.journal import Row
from eval.methods import digest, sources
from eval.occlusion import OcclusionCounts, add_occlusion, count_occlusion
from eval.passes import RunOptions, digest_of, no_reader, predict_all, score_all
from eval.predictions import DisparityPrediction, PredictionStore, read_prediction
from eval.set_place import lacks
from eval.stereo_benchmarks import StereoBenchmark
from eval.stereo_methods import PairStereo, StereoMethod
from eval.stereo_pairs import StereoPair, StereoTruth

# What a method may raise for a pair that it cannot do; the pair then has no finite prediction, and is shown.
FAILURES = (ValueError, TypeError, RuntimeError, MemoryError, cv2.error)
OCCLUDED_FROM = 0.5


@dataclass(frozen=True)
class PairResult:
    """Scores of one pair."""

    name: str
    group: str
    weight: float
    size: tuple[int, int]  # height, width
    regions: dict[
        str, DisparityCounts
    ]  # all, noc, occ, foreground, background: where they are known
    conventions: dict[str, DisparityCounts]
    occlusion: OcclusionCounts | None  # None where the occluded pixels are not known
    seconds: float
    error: str

    def score(self, region: str) -> DisparityScore:
        """The shares of one region; all NaN where it is not known."""
        empty = DisparityCounts(0, 0, 0.0, (), 0)
        return self.regions.get(region, empty).score()


@dataclass(frozen=True)
class RegionScore:
    """All images of a group on one kind of pixels."""

    region: str
    images: int  # with at least one such pixel
    empty: int  # without, left out of the means
    mean: DisparityScore  # every image weighs the same, or its weight
    pooled: DisparityScore  # every pixel weighs the same


@dataclass(frozen=True)
class GroupResult:
    """Scores of all pairs of one data set."""

    group: str
    pairs: int
    failed: int
    regions: tuple[RegionScore, ...]
    conventions: tuple[ConventionScore, ...]
    occlusion: OcclusionCounts | None  # of all images together
    iou: float  # of the occluded class, mean of images
    f1: float
    two_class_iou: float
    median_seconds: float

    def region(self, name: str) -> RegionScore:
        """The scores on one kind of pixels."""
        return next(each for each in self.regions if each.region == name)


@dataclass(frozen=True)
class StereoResult:
    """Scores of a method on a benchmark."""

    benchmark: StereoBenchmark
    method: StereoMethod
    identity: str
    results: tuple[PairResult, ...]
    pairs: tuple[StereoPair, ...]  # in the order of the results
    predictions: Path
    lacks: tuple[str, ...] = ()  # what the set says is missing of it, a line each


@dataclass(frozen=True)
class StereoTask:
    """What one process needs to score one pair."""

    predictions: Path
    number: int
    pair: StereoPair
    benchmark: StereoBenchmark


def run(
    benchmark: StereoBenchmark,
    method: StereoMethod,
    data: Path,
    out: Path,
    options: RunOptions | None = None,
) -> StereoResult:
    """Scores of `method` on `benchmark`, going on from what lies in `out`."""
    options = options or RunOptions()
    if options.max_disp is not None:
        benchmark = replace(benchmark, max_disp=options.max_disp)
    pairs = benchmark.pairs(data)[: options.limit]
    folder = out / benchmark.name / method.name
    names = digest_of([(pair.name, str(pair.left), str(pair.right)) for pair in pairs])
    identity = f"{method.identity}; {len(pairs)} pairs {names}"
    store = PredictionStore(folder, identity, _notes(benchmark, method))
    if not store.is_complete():
        _predict(benchmark, pairs, method, store)
    sendable = replace(benchmark, read=no_reader)
    tasks = [StereoTask(store.file, n, pair, sendable) for n, pair in enumerate(pairs)]
    rules = digest_of([config(benchmark), digest(sources("eval"))])
    title = f"{benchmark.name}, {method.name}, scores"
    scored = f"{identity}; scored by {rules}"
    path = folder / "scores.jsonl"
    rows = score_all(path, scored, tasks, score_task, title, options.workers)
    results = tuple(map(_pair_result, rows))
    missing = lacks(benchmark.find(data))
    return StereoResult(benchmark, method, identity, results, tuple(pairs), store.file, missing)


def config(benchmark: StereoBenchmark) -> dict[str, Any]:
    """Every knob of the benchmark."""
    left_aside = ("read", "name", "published", "anywhere", "conventions")
    knobs = {key: value for key, value in vars(benchmark).items() if key not in left_aside}
    rules = [asdict(each) for each in benchmark.conventions]
    knobs["rule"] = asdict(benchmark.rule)
    return knobs | {"conventions": rules, "occluded_from": OCCLUDED_FROM}


def _notes(benchmark: StereoBenchmark, method: StereoMethod) -> dict[str, Any]:
    knobs = {"method": method.name, "identity": method.identity, "protocol": method.protocol}
    return {
        "benchmark": benchmark.name,
        "config": knobs | config(benchmark),
        "environment": environment(),
    }


def _predict(
    benchmark: StereoBenchmark,
    pairs: Sequence[StereoPair],
    method: StereoMethod,
    store: PredictionStore,
) -> None:
    stereo = method.load()

    def one(number: int) -> DisparityPrediction:
        return predict_pair(stereo, pairs[number])

    predict_all(store, [pair.name for pair in pairs], one, f"{benchmark.name}, {method.name}")


def predict_pair(stereo: PairStereo | RecordedFile, pair: StereoPair) -> DisparityPrediction:
    """What `stereo` gives for `pair`, which sees the two images and nothing else."""
    left, right = read_source(pair.left), read_source(pair.right)
    try:
        with Stopwatch() as took:
            found = (
                stereo.disparity(pair.name)
                if isinstance(stereo, RecordedFile)
                else stereo.predict(left, right)
            )
    except FAILURES as error:
        unknown = np.full(left.shape[:2], np.nan, np.float32)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return DisparityPrediction(unknown, np.zeros(left.shape[:2], np.float16), 0.0, reason)
    return DisparityPrediction(
        np.asarray(found.disparity, np.float32),
        np.asarray(found.occlusion, np.float16),
        math.nan if isinstance(stereo, RecordedFile) else took.seconds,
    )


def score_task(task: StereoTask) -> Row:
    """The scores of one pair."""
    _, prediction = read_prediction(task.predictions, task.number, DisparityPrediction)
    return asdict(score_pair(task.pair, prediction, task.benchmark))


def score_pair(
    pair: StereoPair, prediction: DisparityPrediction, benchmark: StereoBenchmark
) -> PairResult:
    """Second pass: errors on each kind of pixels; occlusion where it is known."""
    truth = pair.truth()
    disp = prediction.disparity
    if benchmark.clip and pair.ndisp is not None:
        disp = np.where(np.isfinite(disp), np.clip(disp, 0, pair.ndisp), disp)
    masks = masks_of(truth, benchmark)
    known = np.isfinite(truth.disp)
    occlusion = None
    if truth.occlusion_known:
        hidden = prediction.occlusion > OCCLUDED_FROM
        occlusion = count_occlusion(hidden, known & ~truth.visible, known)
    H, W = truth.disp.shape
    return PairResult(
        pair.name,
        pair.group,
        pair.weight,
        (H, W),
        {name: count_disparity(disp, truth.disp, mask) for name, mask in masks.items()},
        count_by(benchmark.conventions, disp, truth),
        occlusion,
        prediction.seconds,
        prediction.error,
    )


def masks_of(truth: StereoTruth, benchmark: StereoBenchmark) -> dict[str, np.ndarray]:
    """Which pixels (H, W) bool belong to each region of the benchmark; regions that are not known are absent."""
    known = np.isfinite(truth.disp)
    if benchmark.max_disp is not None:
        known &= truth.disp < benchmark.max_disp
    masks = {"all": known, "noc": known & truth.visible, "occ": known & ~truth.visible}
    if truth.foreground is not None:
        masks["foreground"] = known & truth.foreground
        masks["background"] = known & ~truth.foreground
    return {name: mask for name, mask in masks.items() if name in benchmark.regions}


def _pair_result(row: Row) -> PairResult:
    counts = {
        key: {name: _counts(each) for name, each in row[key].items()}
        for key in ("regions", "conventions")
    }
    occlusion = None if row["occlusion"] is None else OcclusionCounts(**row["occlusion"])
    return PairResult(**{**row, **counts, "size": tuple(row["size"]), "occlusion": occlusion})


def _counts(row: Row) -> DisparityCounts:
    return DisparityCounts(**{**row, "bad": tuple(row["bad"])})


def grouped(result: StereoResult) -> list[GroupResult]:
    """The results of each data set together, in the order of their first pairs."""
    names = dict.fromkeys(each.group for each in result.results)
    return [
        _group(name, [each for each in result.results if each.group == name], result.benchmark)
        for name in names
    ]


def _group(name: str, members: Sequence[PairResult], benchmark: StereoBenchmark) -> GroupResult:
    regions = tuple(_region(region, members) for region in benchmark.regions)
    found = [each.occlusion for each in members if each.occlusion is not None]
    rules = [score_convention(c, [m.conventions for m in members]) for c in benchmark.conventions]
    return GroupResult(
        group=name,
        pairs=len(members),
        failed=sum(bool(each.error) for each in members),
        regions=tuple(each for each in regions if each.images),
        conventions=tuple(rules),
        occlusion=add_occlusion(found) if found else None,
        iou=_mean([each.iou for each in found]),
        f1=_mean([each.f1 for each in found]),
        two_class_iou=_mean([each.two_class_iou for each in found]),
        median_seconds=float(np.median([each.seconds for each in members])),
    )


def _region(region: str, members: Sequence[PairResult]) -> RegionScore:
    known = [(each.regions[region], each.weight) for each in members if region in each.regions]
    counts = [count for count, _ in known]
    full = sum(bool(count.pixels) for count in counts)
    weights = [weight for _, weight in known]
    return RegionScore(
        region, full, len(counts) - full, mean_of_images(counts, weights), pooled(counts)
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
