"""What a conversion will do, before it reads a picture: which files become which records and pairs.

A plan is made of names and small arrays, so a million pairs take megabytes. The planners of the data
sets (package `planners`) make plans; `conversion` carries them out.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts import schema
from data_scripts.schema import DatasetInfo


@dataclass(frozen=True, slots=True)
class MapSource:
    """The file behind a map of an image."""

    name: str  # of schema.MAPS
    reader: str  # of map_files.READERS
    paths: tuple[str, ...]
    unit: float | None = None  # metres or pixels per stored 1, for maps of integers
    largest: int | None = None  # stored values above it are unknown


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The files and the camera behind an image record."""

    name: str
    path: str
    K: np.ndarray | None = None  # (3, 3) px
    K_size: tuple[int, int] | None = None  # (H, W) for which K holds; None: for the file
    T_w2c: np.ndarray | None = None  # (4, 4)
    K_depth: np.ndarray | None = None  # (3, 3) px of the depth map
    maps: tuple[MapSource, ...] = ()

    @property
    def files(self) -> list[str]:
        """Every file that the record is made of."""
        return [self.path, *(path for source in self.maps for path in source.paths)]

    def digest(self) -> bytes:
        """Changes with whatever the record is made of: names, cameras, sizes and times of files."""
        found = hashlib.sha256(repr((self.name, self.K_size, self.maps)).encode())
        for matrix in (self.K, self.T_w2c, self.K_depth):
            found.update(b"-" if matrix is None else np.asarray(matrix, np.float64).tobytes())
        for path in self.files:
            found.update(_file_state(path).encode())
        return found.digest()


def _file_state(path: str) -> str:
    try:
        state = Path(path).stat()
    except OSError:
        return f"{path} missing"
    return f"{path} {state.st_size} {state.st_mtime_ns}"


@dataclass(frozen=True)
class Plan:
    """All that a conversion needs to know."""

    info: DatasetInfo
    images: Sequence[ImageSource]
    pairs: np.ndarray  # rows of schema.pair_dtype; image0 and image1 number `images`
    groups: Sequence[str] = ()
    remarks: Sequence[str] = ()  # what is missing, and where it comes from: for the user's eyes

    @property
    def options(self) -> tuple[str, ...]:
        """Fields of schema.IMAGE_OPTIONS that some image has."""
        return tuple(
            name
            for name in schema.IMAGE_OPTIONS
            if any(getattr(image, name) is not None for image in self.images)
        )


@dataclass
class PlanBuilder:
    """Collects images and pairs under their names, each image once."""

    images: list[ImageSource] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)

    def image(self, source: ImageSource) -> int:
        """The number of `source`; it is added where no image has its name."""
        number = self.numbers.setdefault(source.name, len(self.images))
        if number == len(self.images):
            self.images.append(source)
        return number

    def pair(self, image0: int, image1: int, group: str = "", **values: Any) -> None:
        """Adds a pair; `values` are fields of schema.PAIR_OPTIONS, None where not known."""
        known = {name: value for name, value in values.items() if value is not None}
        row = schema.empty_rows(schema.pair_dtype(known), 1)
        row["image0"], row["image1"] = image0, image1
        row["group"] = self.groups.setdefault(group, len(self.groups))
        for name, value in known.items():
            row[name] = value
        self.rows.append(row)

    def block(self, rows: np.ndarray) -> None:
        """Adds many pairs; rows of schema.pair_dtype."""
        self.rows.append(rows)

    def group(self, name: str) -> int:
        """The number of a group."""
        return self.groups.setdefault(name, len(self.groups))

    def plan(self, info: DatasetInfo, remarks: Iterable[str] = ()) -> Plan:
        """What was collected."""
        lines = list(remarks)
        info = replace(info, missing="\n".join(lines))
        return Plan(info, self.images, _joined(self.rows), list(self.groups), lines)


def _joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """One table that has every field that a block has."""
    names = {name for block in blocks for name in block.dtype.names or ()}
    dtype = schema.pair_dtype(names & set(schema.PAIR_OPTIONS))
    table = schema.empty_rows(dtype, sum(map(len, blocks)))
    start = 0
    for block in blocks:
        for name in block.dtype.names or ():
            table[name][start : start + len(block)] = block[name]
        start += len(block)
    return table


def converter() -> str:
    """Name and version of this program, for DatasetInfo."""
    try:
        return f"quadview {metadata.version('quadview')}"
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "quadview"


def plan_digest(plan: Plan, image_digests: Iterable[bytes]) -> str:
    """Hexadecimal name of what `plan` would make."""
    info: Mapping[str, str] = {k: v for k, v in vars(plan.info).items() if k != "plan"}
    found = hashlib.sha256(repr((schema.VERSION, info, list(plan.groups))).encode())
    for digest in image_digests:
        found.update(digest)
    found.update(repr(plan.pairs.dtype).encode())
    found.update(plan.pairs.tobytes())
    return found.hexdigest()
