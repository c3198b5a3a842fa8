"""Pair lists from RGB-D scans with poses: which frames see enough of the same, and how much.

Every frame's depth is read once and kept small, so a scan of a thousand frames takes a hundred megabytes;
take every n-th frame of longer ones.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_scripts.atomic import write_text
from data_scripts.catalogue import OWN
from data_scripts.overlap import DepthView, depth_view, overlap, sees
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import info
from data_scripts.pose_chain import chained
from data_scripts.processes import run_in_processes
from data_scripts.rgbd_folders import MM, Frame, Scan, find_scans

UNKNOWN_DEPTH = 2**16 - 1  # stored by 7-Scenes


@dataclass(frozen=True)
class Choice:
    """Which pairs are kept."""

    min_overlap: float = 0.1
    max_overlap: float = 1.0
    every: int = 1  # take every n-th frame
    max_pairs: int | None = None  # of a scan, drawn at random
    seed: int = 0
    chain: bool = False  # of a list of pairs score every two frames that its motions connect

    def __post_init__(self) -> None:
        if not 0 <= self.min_overlap <= self.max_overlap <= 1:
            raise ValueError(
                f"overlaps must be in [0, 1], the least below the most, got {self.min_overlap} and "
                f"{self.max_overlap}"
            )
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise ValueError(f"max_pairs must be at least 1, got {self.max_pairs}")


@dataclass(frozen=True)
class ScoredPair:
    """Two frames of a scan, by number."""

    frames: tuple[int, int]
    T_0to1: np.ndarray  # (4, 4)
    overlap: float


@dataclass(frozen=True)
class ScoredScan:
    """A scan with the pairs that were kept."""

    scan: Scan
    pairs: list[ScoredPair]


def score_folder(
    raw: Path, choice: Choice, K: np.ndarray | None = None, workers: int = 1
) -> list[ScoredScan]:
    """The scans below `raw` with their pairs, best overlap first.

    Raises:
        FileNotFoundError, ValueError: no scan, a file that cannot be read, or no pair that is kept.
    """
    found = find_scans(raw, K)
    scans = [part for scan in found for part in chained(scan)] if choice.chain else found
    scored = [
        ScoredScan(scan, score_scan(scan, choice, workers))
        for scan in (_thinned(scan, choice.every) for scan in scans)
    ]
    if not any(one.pairs for one in scored):
        raise ValueError(
            f"{raw}: no two frames overlap by {choice.min_overlap} to {choice.max_overlap}; "
            "check the poses and the unit of the depth, or give another --min-overlap"
        )
    return scored


def _thinned(scan: Scan, every: int) -> Scan:
    if scan.listed or every == 1:
        return scan
    return Scan(scan.name, scan.frames[::every], lost=scan.lost)


def score_scan(scan: Scan, choice: Choice, workers: int = 1) -> list[ScoredPair]:
    """The pairs of one scan whose overlap is in the range, best first."""
    views = list(_views(scan, workers))
    found = []
    candidates = list(scan.listed) or None
    total = len(candidates) if candidates else len(views) * (len(views) - 1) // 2
    with tqdm(total=total, desc=f"overlap of {scan.name}", unit="pair") as bar:
        for i, j, T_0to1 in candidates or _all_pairs(scan):
            bar.update()
            if not sees(views[i], views[j], T_0to1):
                continue
            share = overlap(views[i], views[j], T_0to1)
            if choice.min_overlap <= share <= choice.max_overlap:
                found.append(ScoredPair((i, j), T_0to1, share))
    if choice.max_pairs is not None and len(found) > choice.max_pairs:
        rng = np.random.default_rng(choice.seed)
        chosen = rng.choice(len(found), choice.max_pairs, replace=False)
        found = [found[n] for n in chosen]
    return sorted(found, key=lambda pair: (-pair.overlap, pair.frames))


def _views(scan: Scan, workers: int) -> Iterator[DepthView]:
    """The depth of every frame, in their order."""
    jobs = list(enumerate(scan.frames))
    bar = tqdm(total=len(jobs), desc=f"depth of {scan.name}", unit="frame", leave=False)
    with bar:
        if workers <= 1 or len(jobs) < 2 * workers:
            for job in jobs:
                bar.update()
                yield _view(job)[1]
            return
        found: dict[int, DepthView] = {}
        for number, view in run_in_processes(_view, jobs, workers):
            bar.update()
            found[number] = view
    yield from (found[number] for number, _ in jobs)


def _view(job: tuple[int, Frame]) -> tuple[int, DepthView]:
    number, frame = job
    return number, depth_view(*frame.read_depth())


def _all_pairs(scan: Scan) -> Iterator[tuple[int, int, np.ndarray]]:
    poses = [frame.T_w2c for frame in scan.frames]
    for i, first in enumerate(poses):
        if first is None:
            continue
        back = np.linalg.inv(first)
        for j in range(i + 1, len(poses)):
            second = poses[j]
            if second is not None:
                yield i, j, second @ back


def write_list(scored: list[ScoredScan], out: Path) -> int:
    """Writes pairs.json at `out`, images relative to its folder; the number of pairs.

    An object a pair: scene, image0, image1, depth0, depth1, K0, K1, T_0to1, overlap, and Kd where the
    depth has its own camera.
    """
    rows = [_row(one, pair, out.parent) for one in scored for pair in one.pairs]
    write_text(out, json.dumps(rows, indent=1) + "\n")
    return len(rows)


def _row(one: ScoredScan, pair: ScoredPair, base: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"scene": one.scan.name}
    frames = [one.scan.frames[n] for n in pair.frames]
    for side, frame in enumerate(frames):
        row[f"image{side}"] = _relative(frame.image, base)
        row[f"depth{side}"] = _relative(frame.depth, base)
        row[f"K{side}"] = frame.K.tolist()
    if frames[0].K_depth is not None:
        row["Kd"] = frames[0].K_depth.tolist()
    row["T_0to1"] = pair.T_0to1.tolist()
    row["overlap"] = round(pair.overlap, 4)
    return row


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def plan(scored: list[ScoredScan], raw: Path) -> Plan:
    """The pairs as a data set, with depth and overlap."""
    builder = PlanBuilder()
    for one in scored:
        used = sorted({n for pair in one.pairs for n in pair.frames})
        numbers = {n: builder.image(_source(one.scan.frames[n], raw)) for n in used}
        for pair in one.pairs:
            first, second = (numbers[n] for n in pair.frames)
            T_0to1 = pair.T_0to1 if one.scan.listed else None  # else of the poses of the images
            values = {"T_0to1": T_0to1, "overlap": pair.overlap}
            builder.pair(first, second, one.scan.name, **values)
    lost = sum(one.scan.lost for one in scored)
    remarks = [f"{lost} frames left out: no depth, or no finite pose"] if lost else []
    return builder.plan(info(OWN, name=raw.resolve().name), remarks)


def _source(frame: Frame, raw: Path) -> ImageSource:
    depth = MapSource("depth", "integers", (str(frame.depth),), MM, UNKNOWN_DEPTH - 1)
    return ImageSource(
        name=frame.image.relative_to(raw).as_posix(),
        path=str(frame.image),
        K=frame.K,
        T_w2c=frame.T_w2c,
        K_depth=frame.K_depth,
        maps=(depth,),
    )
