"""The two passes over rectified pairs with known disparity: predictions into files, then scores from them.

Each pair has a file of its own, written whole or not at all, which a run that was stopped goes on from.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_scripts.atomic import replacing
from eval.disparity import (
    DisparityScore,
    mean_of_images,
    occlusion_iou,
    pooled,
    score_disparity,
)
from eval.readers.stereo_pairs import StereoPair, read_stereo_pairs
from eval.stereo_methods import PairStereo, StereoMethod

FOLDER = "stereo/pairs"  # under the data folder
# What a method may raise for a pair that it cannot do; the pair then has no finite prediction, and is shown.
FAILURES = (ValueError, TypeError, RuntimeError, MemoryError, cv2.error)
OCCLUDED_FROM = 0.5


@dataclass(frozen=True)
class StereoPrediction:
    """What a method gave for one pair."""

    disparity: np.ndarray  # (H, W) px of the left image as given; NaN where the method failed
    occlusion: np.ndarray  # (H, W) in [0, 1]
    seconds: float  # with reading the files
    error: str = ""  # why there is none


@dataclass(frozen=True)
class PairResult:
    """Scores of one pair on the pixels that both images show."""

    name: str
    group: str
    size: tuple[int, int]  # height, width
    score: DisparityScore
    occlusion_iou: float  # NaN where the occluded pixels are not known
    seconds: float
    error: str


@dataclass(frozen=True)
class GroupResult:
    """Scores of all pairs of one data set."""

    group: str
    pairs: int
    empty: int  # pairs without a pixel that counts, left out of the means
    mean: DisparityScore  # every image weighs the same
    pooled: DisparityScore  # every pixel weighs the same
    occlusion_iou: float
    median_seconds: float


def stereo_pairs(data: Path) -> list[StereoPair]:
    """The pairs in the folder that holds all data sets.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: a list that cannot be read, or two pairs of the same name.
    """
    folder = data / FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; --data must name the folder that holds {FOLDER}"
        )
    pairs = read_stereo_pairs(folder / "index.json")
    if len({pair.name for pair in pairs}) < len(pairs):
        raise ValueError(f"{folder}: two pairs have the same name")
    return pairs


def run(pairs: Sequence[StereoPair], method: StereoMethod, folder: Path) -> list[PairResult]:
    """Scores of `method` on `pairs`, going on from the predictions that lie in `folder`."""
    files = [folder / "predictions" / f"{pair.name}.npz" for pair in pairs]
    predict(pairs, method, files)
    return [score(pair, _read(file)) for pair, file in zip(pairs, files, strict=True)]


def predict(pairs: Sequence[StereoPair], method: StereoMethod, files: Sequence[Path]) -> None:
    """First pass: a prediction file for each pair that has none of this method yet."""
    stereo: PairStereo | None = None
    work = list(zip(pairs, files, strict=True))
    for pair, file in tqdm(work, f"stereo, {method.name}", disable=None):
        if _is_of(file, method.identity):
            continue
        stereo = stereo or method.load()
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            found = asdict(predict_pair(stereo, pair))
            np.savez_compressed(temporary, allow_pickle=False, identity=method.identity, **found)


def predict_pair(stereo: PairStereo, pair: StereoPair) -> StereoPrediction:
    """What `stereo` gives for `pair`, which sees the two images and nothing else."""
    start = time.perf_counter()
    try:
        found = stereo.predict(pair.left, pair.right)
    except FAILURES as error:
        unknown = np.full(pair.truth().disp.shape, np.nan, np.float32)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return StereoPrediction(unknown, unknown * 0, 0.0, reason)
    return StereoPrediction(found.disparity, found.occlusion, time.perf_counter() - start)


def _is_of(file: Path, identity: str) -> bool:
    if not file.is_file():
        return False
    with np.load(file) as found:
        return str(found["identity"]) == identity


def _read(file: Path) -> StereoPrediction:
    with np.load(file) as found:
        return StereoPrediction(
            found["disparity"], found["occlusion"], float(found["seconds"]), str(found["error"])
        )


def score(pair: StereoPair, prediction: StereoPrediction) -> PairResult:
    """Second pass: errors where the right image shows the pixel; occlusion where it is known."""
    truth = pair.truth()
    known = np.isfinite(truth.disp)
    iou = math.nan
    if pair.nocc is not None:
        hidden = prediction.occlusion > OCCLUDED_FROM
        iou = occlusion_iou(hidden, known & ~truth.visible, known)
    H, W = truth.disp.shape
    return PairResult(
        pair.name,
        pair.group,
        (H, W),
        score_disparity(prediction.disparity, truth.disp, truth.visible),
        iou,
        prediction.seconds,
        prediction.error,
    )


def grouped(results: Sequence[PairResult]) -> list[GroupResult]:
    """The results of each data set together, in the order of their first pairs."""
    groups = {result.group: [r for r in results if r.group == result.group] for result in results}
    return [_group(name, members) for name, members in groups.items()]


def _group(name: str, members: Sequence[PairResult]) -> GroupResult:
    scores = [member.score for member in members]
    overlaps = [m.occlusion_iou for m in members if not math.isnan(m.occlusion_iou)]
    return GroupResult(
        group=name,
        pairs=len(members),
        empty=sum(not each.pixels for each in scores),
        mean=mean_of_images(scores),
        pooled=pooled(scores),
        occlusion_iou=float(np.mean(overlaps)) if overlaps else math.nan,
        median_seconds=float(np.median([member.seconds for member in members])),
    )
