"""Whether a converted data set is sound: every record decoded, every number looked at.

A fault is a line of text: where it is, what was wanted, what came. Rows of the tables are looked at in
blocks and records one at a time; only the names of the images are held, to find one that comes twice.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_scripts import schema
from data_scripts.attempts import FAILURES
from data_scripts.dataset import Dataset, ImageRecord
from data_scripts.image_files import decode_image
from data_scripts.processes import run_in_processes

BLOCK_ROWS = 8192
JOB_IMAGES = 64
# Poses in text files have six digits, and those of scanners are filtered: a real one is this close.
ORTHONORMAL = 1e-3
LEAST_DETERMINANT = 1e-9  # of a homography whose last entry is 1: below it a plane becomes a line
TOO_LARGE_SHARE = (
    0.5  # of disparities wider than the image; single near points are, a wrong unit gives most
)


@dataclass(frozen=True)
class CheckJob:
    """Images `start` to before `stop` of a data set."""

    data: Dataset
    start: int
    stop: int


def check_dataset(path: Path, workers: int = 1) -> list[str]:
    """The faults of the converted set at `path`, none where it is sound.

    Raises:
        FileNotFoundError, ValueError: no converted data set at all.
    """
    with Dataset(path) as data:
        faults = list(chain(_image_table_faults(data), _pair_table_faults(data)))
        jobs = [
            CheckJob(data, start, min(start + JOB_IMAGES, data.image_count))
            for start in range(0, data.image_count, JOB_IMAGES)
        ]
        done = (
            run_in_processes(_check_images, jobs, workers)
            if workers > 1 and len(jobs) > 1
            else map(_check_images, jobs)
        )
        found: list[tuple[int, str]] = []
        with tqdm(total=data.image_count, desc="check", unit="image") as bar:
            for count, lines in done:
                bar.update(count)
                found += lines
    return faults + [line for _, line in sorted(found)]


def _check_images(job: CheckJob) -> tuple[int, list[tuple[int, str]]]:
    lines: list[tuple[int, str]] = []
    for number in range(job.start, job.stop):
        try:
            image = job.data.image(number)
            lines += [(number, f"image {number}, {image.name}: {f}") for f in image_faults(image)]
        except FAILURES as error:
            lines.append((number, f"image {number}: {' '.join(str(error).split())}"))
    return job.stop - job.start, lines


def image_faults(image: ImageRecord) -> Iterator[str]:
    """What is wrong with the pixels and maps of one record.

    Raises:
        ValueError, OSError: they cannot even be read; the message tells.
    """
    data = image.encoded()
    shard, row = image.place
    if zlib.crc32(data) != image.dataset.shard(shard).crc(row):
        yield "wanted the image file as it was converted, got other bytes (CRC-32)"
    size: tuple[int, ...] = decode_image(data, image.name, cv2.IMREAD_COLOR).shape[:2]
    if size != image.size:
        yield f"wanted an image of {image.size}, as its table says, got {size}"
    for name in sorted(image.maps):
        yield from _map_faults(image, name)


def _map_faults(image: ImageRecord, name: str) -> Iterator[str]:
    values, unit = image.dataset.shard(image.place[0]).map(image.place[1], name)
    if values.ndim != 2 or (name != "depth" and values.shape != image.size):
        yield f"wanted a {name} of {image.size}, got {values.shape}"
        return
    if name in schema.CODED:
        yield from _code_faults(name, values)
        return
    if values.dtype.kind == "u" and not (unit is not None and 0 < unit < np.inf):
        yield f"wanted a positive unit of {name}, got {unit}"
    elif values.dtype.kind not in "uf":
        yield f"wanted a {name} of unsigned integers or floats, got {values.dtype}"
    elif name == "depth":
        depth = image.depth()
        if depth is not None and not (np.isfinite(depth) & (depth >= 0)).all():
            yield "wanted a depth that is finite and not negative, got another"
    else:
        yield from _disparity_faults(image.disparity(), image.size[1])


def _code_faults(name: str, values: np.ndarray) -> Iterator[str]:
    if values.dtype != np.uint8:
        yield f"wanted {name} as uint8, got {values.dtype}"
    codes = {schema.UNKNOWN, schema.OCCLUDED, schema.SEEN_BY_BOTH}
    if name == "occlusion" and (strange := set(np.unique(values).tolist()) - codes):
        yield f"wanted occlusion of {sorted(codes)}, got {sorted(strange)[:5]} as well"


def _disparity_faults(disp: np.ndarray | None, width: int) -> Iterator[str]:
    if disp is None:
        return
    known = disp[disp != np.inf]
    if not (known > 0).all():  # NaN compares False
        yield "wanted disparities above 0, infinite where unknown, got others"
    elif (known > width).mean() > TOO_LARGE_SHARE if known.size else False:
        yield f"wanted disparities of pixels, got most above the width of {width}; is the unit right?"


def _image_table_faults(data: Dataset) -> Iterator[str]:
    names: set[bytes] = set()
    for start, rows in _blocks(data, "images"):
        for n in np.flatnonzero((rows["shard"] < 0) | (rows["shard"] >= len(data.shard_names))):
            yield f"image {start + n}: wanted a shard below {len(data.shard_names)}"
        for name in ("K", "K_depth"):
            if name in (rows.dtype.names or ()):
                yield from _lines(
                    f"image {{}}: wanted a {name} that is finite, with positive focal "
                    "lengths and last row 0 0 1",
                    start,
                    _bad_K(rows[name]),
                )
        if "T_w2c" in (rows.dtype.names or ()):
            yield from _lines(
                "image {}: wanted a T_w2c that is finite with an orthonormal rotation",
                start,
                _bad_T(rows["T_w2c"]),
            )
        for number, name in enumerate(rows["name"].tolist(), start):
            if name in names or not name:
                yield f"image {number}: wanted a name of its own, got {name!r} again"
            names.add(name)


def _pair_table_faults(data: Dataset) -> Iterator[str]:
    groups = max(1, len(data.groups))
    for start, rows in _blocks(data, "pairs"):
        fields = rows.dtype.names or ()
        lost = np.zeros(len(rows), bool)
        for name in ("image0", "image1"):
            lost |= (rows[name] < 0) | (rows[name] >= data.image_count)
        yield from _lines(f"pair {{}}: wanted images below {data.image_count}", start, lost)
        strange = (rows["group"] < 0) | (rows["group"] >= groups)
        yield from _lines(f"pair {{}}: wanted a group below {groups}", start, strange)
        for name, bad, wanted in (
            ("T_0to1", _bad_T, "finite with an orthonormal rotation"),
            ("H_0to1", _bad_H, "finite and invertible"),
            ("overlap", lambda x: (x < 0) | (x > 1), "in [0, 1]"),
            ("turns", lambda x: ((x < 0) | (x > 3)).any(1), "of 0 to 3 quarters"),
            ("focal_px", lambda x: x <= 0, "above 0"),
            ("baseline_m", lambda x: x <= 0, "above 0"),
            ("ndisp", lambda x: x < 0, "not negative"),
        ):
            if name in fields:
                yield from _lines(f"pair {{}}: wanted {name} {wanted}", start, bad(rows[name]))


def _blocks(data: Dataset, table: str) -> Iterator[tuple[int, np.ndarray]]:
    count = data.image_count if table == "images" else len(data)
    for start in range(0, count, BLOCK_ROWS):
        yield (
            start,
            data.rows("images" if table == "images" else "pairs", start, start + BLOCK_ROWS),
        )


def _lines(text: str, start: int, bad: np.ndarray) -> Iterator[str]:
    return (text.format(start + n) for n in np.flatnonzero(bad))


def _absent(matrices: np.ndarray) -> np.ndarray:
    return np.isnan(matrices).all((1, 2))


def _bad_K(K: np.ndarray) -> np.ndarray:  # noqa: N802
    """Which of (N, 3, 3) are no intrinsics; those that are all NaN are absent, not bad."""
    good = np.isfinite(K).all((1, 2)) & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    good &= (K[:, 1, 0] == 0) & (K[:, 2] == (0, 0, 1)).all(1)
    return ~good & ~_absent(K)


def _bad_T(T: np.ndarray) -> np.ndarray:  # noqa: N802
    """Which of (N, 4, 4) are no rigid motions."""
    R = np.where(np.isfinite(T[:, :3, :3]), T[:, :3, :3], 0)
    good = np.isfinite(T).all((1, 2)) & (T[:, 3] == (0, 0, 0, 1)).all(1)
    good &= np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) < ORTHONORMAL
    good &= np.linalg.det(R) > 0
    return ~good & ~_absent(T)


def _bad_H(H: np.ndarray) -> np.ndarray:  # noqa: N802
    """Which of (N, 3, 3) are no homographies."""
    finite = np.where(np.isfinite(H), H, 0)
    good = np.isfinite(H).all((1, 2)) & (np.abs(np.linalg.det(finite)) > LEAST_DETERMINANT)
    return ~good & ~_absent(H)
