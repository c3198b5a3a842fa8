"""Files of records: written whole or not at all, and known again by the digest of their sources."""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from data_scripts import schema
from data_scripts.atomic import replacing
from data_scripts.attempts import FAILURES
from data_scripts.image_files import decode_image, read_image_bytes
from data_scripts.map_files import read_map
from data_scripts.plan import ImageSource

CHUNK_BYTES = 2**22  # of a map, uncompressed
COMPRESSION = 1  # level of gzip; higher ones cost much time for a few percent


@dataclass(frozen=True)
class ShardJob:
    """One file of records to be written."""

    path: Path
    number: int
    first: int  # number of the first of `sources` in the plan
    sources: tuple[ImageSource, ...]
    name_bytes: int  # longest name of the plan
    options: tuple[str, ...]  # of schema.IMAGE_OPTIONS
    digest: str  # of the sources and their files
    skip_bad: bool


@dataclass(frozen=True)
class ShardResult:
    """What became of a job."""

    number: int
    count: int  # sources dealt with
    bad: tuple[str, ...] = ()  # why sources could not be converted
    written: bool = True  # False: the file was there, or it was not written for bad sources


class BadSourcesError(ValueError):
    """Sources could not be converted, and none may be left out."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


def write_shard(job: ShardJob, done: Callable[[int], object] = lambda _: None) -> ShardResult:
    """Writes the file of `job`, unless it is there; `done` is told of every source."""
    if (kept := _skipped_of(job)) is not None:
        done(len(job.sources))
        return ShardResult(job.number, len(job.sources), kept, written=False)
    try:
        with replacing(job.path) as temporary, h5py.File(temporary, "w") as file:
            bad = _write(file, job, done)
            if bad and not job.skip_bad:
                raise BadSourcesError(bad)
    except BadSourcesError as error:
        return ShardResult(job.number, len(job.sources), error.reasons, written=False)
    return ShardResult(job.number, len(job.sources), tuple(bad))


def jobs_digest(sources: tuple[ImageSource, ...], digests: list[bytes]) -> str:
    """Name of what a file of `sources` holds; `digests` are of the single sources."""
    found = hashlib.sha256(repr((schema.VERSION, len(sources))).encode())
    for digest in digests:
        found.update(digest)
    return found.hexdigest()


def _skipped_of(job: ShardJob) -> tuple[str, ...] | None:
    """What the finished file of `job` left out; None where there is none that may be kept."""
    try:
        with h5py.File(job.path) as file:
            found = file.attrs.get("plan"), file.attrs.get("first"), file[schema.IMAGES].dtype
            skipped = tuple(str(line) for line in file[schema.SKIPPED].asstr()[()])
    except (OSError, KeyError):
        return None
    wanted = job.digest, job.first, schema.image_dtype(job.name_bytes, job.options)
    if found != wanted or (skipped and not job.skip_bad):
        return None
    return skipped


def _write(file: h5py.File, job: ShardJob, done: Callable[[int], object]) -> list[str]:
    """Writes the records of `job` into `file`; what is wrong with those that are bad."""
    rows = schema.empty_rows(schema.image_dtype(job.name_bytes, job.options), len(job.sources))
    kept, bad = 0, []
    for source in job.sources:
        row = rows[kept : kept + 1]
        try:
            _write_record(file, source, kept, row)
        except FAILURES as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            bad.append(f"{source.name}: {reason}")
            if schema.record_name(kept) in file:
                del file[schema.record_name(kept)]
        else:
            row["shard"], row["row"] = job.number, kept
            kept += 1
        done(1)
    file[schema.IMAGES] = rows[:kept]
    file[schema.SKIPPED] = schema.strings(bad)
    file.attrs["format"], file.attrs["version"] = schema.SHARD_FORMAT, schema.VERSION
    file.attrs["plan"], file.attrs["first"] = job.digest, job.first
    return bad


def _write_record(file: h5py.File, source: ImageSource, number: int, row: np.ndarray) -> None:
    data = read_image_bytes(source.path)
    size = decode_image(data, source.path, cv2.IMREAD_COLOR).shape[:2]
    maps = {kind.name: (read_map(kind), kind.unit) for kind in source.maps}
    _check_sizes(source, size, {name: values.shape for name, (values, _) in maps.items()})
    record = file.create_group(schema.record_name(number))
    image = record.create_dataset(schema.IMAGE, data=np.frombuffer(data, np.uint8))
    image.attrs[schema.CRC] = np.uint32(zlib.crc32(data))
    for name, (values, unit) in maps.items():
        _write_map(record, name, values, unit)
        row[f"has_{name}"] = True
    row["name"] = source.name.encode()
    row["height"], row["width"] = size
    if source.K is not None:
        row["K"] = source.K if source.K_size is None else scaled_K(source.K, source.K_size, size)
    for name in ("T_w2c", "K_depth"):
        if (matrix := getattr(source, name)) is not None:
            row[name] = matrix


def _check_sizes(
    source: ImageSource, size: tuple[int, ...], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Only a depth map may be of another size than its image."""
    for name, shape in shapes.items():
        if name != "depth" and shape != size:
            raise ValueError(
                f"the {name} of {source.path} must be of its size {size}, got {shape}; "
                "use images and maps of one resolution"
            )


def _write_map(record: h5py.Group, name: str, values: np.ndarray, unit: float | None) -> None:
    lines = max(1, CHUNK_BYTES // max(1, values[:1].nbytes))
    stored = record.create_dataset(
        name,
        data=values,
        chunks=(min(lines, values.shape[0]), values.shape[1]),
        compression="gzip",
        compression_opts=COMPRESSION,
        shuffle=True,
        fletcher32=True,
    )
    if unit is not None:
        stored.attrs[schema.UNIT] = unit


def scaled_K(K: np.ndarray, size: tuple[int, ...], new_size: tuple[int, ...]) -> np.ndarray:  # noqa: N802
    """`K` of an image of `size` (H, W) for its version of `new_size`, pixels as the field scales them.

    The centre is scaled like the focal lengths: x -> x * scale. It undoes what made the intrinsics
    that are passed around for ScanNet frames of 640 x 480.
    """
    y, x = new_size[0] / size[0], new_size[1] / size[1]
    return np.diag([x, y, 1.0]) @ K
