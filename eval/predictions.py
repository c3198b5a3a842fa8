"""Predictions of one method on one benchmark: written pair by pair, kept in one HDF5 file.

While a run goes on, each pair is a small HDF5 file in a folder beside, written under a temporary name and
renamed; so a run that is killed anywhere loses at most the pair it was at. The one file is made from them
at the end, the same way.

predictions.h5: attributes `identity` (what must not change for the file to be used again), `benchmark`,
`config`, `environment` (JSON: versions, machine, device, commit); a group per pair, named by its number, with
attribute `name` and the fields of `Prediction` or `DisparityPrediction`: arrays as datasets, the rest as
attributes.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from data_scripts.atomic import replacing, write_text
from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as

COMPRESS_FROM = 10_000  # values; smaller arrays gain nothing


@dataclass(frozen=True)
class Prediction:
    """What a method gave for one pair, in pixels of the resized images."""

    kpts0: np.ndarray  # (N, 2) x, y
    kpts1: np.ndarray  # (N, 2)
    confidence: np.ndarray  # (N,)
    size0: tuple[int, int]  # height, width of the resized image
    size1: tuple[int, int]
    scale0: tuple[float, float]  # x, y: size of the resized image over that of the file
    scale1: tuple[float, float]
    seconds: float  # time of the match, without reading and resizing
    error: str = ""  # why there are no matches


@dataclass(frozen=True)
class DisparityPrediction:
    """What a method gave for one rectified pair."""

    disparity: (
        np.ndarray
    )  # (H, W) float32 px of the left image as given; NaN where the method failed
    occlusion: np.ndarray  # (H, W) float16 in [0, 1]
    seconds: float  # time of the prediction, without reading the files
    error: str = ""  # why there is none


Record = TypeVar("Record", Prediction, DisparityPrediction)


class PredictionStore:
    """Predictions of one method on one benchmark in a folder; see the head of the file.

    Predictions of another identity that are found there are removed: they would be scored as ours.
    """

    def __init__(self, folder: Path, identity: str, notes: Mapping[str, Any]) -> None:
        self.file = folder / "predictions.h5"
        self._parts = folder / "predictions.parts"
        self._identity, self._notes = identity, notes
        mark = self._parts / "identity"
        if self.is_complete() or (mark.is_file() and mark.read_text() == identity):
            return
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)
        write_text(mark, identity)

    def is_complete(self) -> bool:
        """Whether the HDF5 file is there and is of this identity."""
        if not self.file.is_file():
            return False
        with h5py.File(self.file) as file:
            return bool(file.attrs.get("identity") == self._identity)

    def has(self, number: int) -> bool:
        """Whether the pair of that number is done."""
        return self._part(number).is_file()

    def add(self, number: int, prediction: Prediction | DisparityPrediction) -> None:
        """Keeps the prediction of the pair of that number."""
        with replacing(self._part(number)) as temporary, h5py.File(temporary, "w") as file:
            write_record(file.create_group("pair"), prediction)

    def finish(self, names: list[str]) -> None:
        """Makes the HDF5 file; `names` are those of the pairs in the order of their numbers."""
        with replacing(self.file) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["identity"] = self._identity
            for key, value in self._notes.items():
                file.attrs[key] = value if isinstance(value, str) else json.dumps(value)
            for number, name in enumerate(names):
                with h5py.File(self._part(number)) as part:
                    part.copy("pair", file, str(number))
                file[str(number)].attrs["name"] = name
        shutil.rmtree(self._parts, ignore_errors=True)  # what a kill leaves here is never read

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.h5"


def write_record(group: h5py.Group, record: Prediction | DisparityPrediction) -> None:
    """Writes each field of `record` into `group`."""
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            packed = {"compression": "gzip", "shuffle": True} if value.size > COMPRESS_FROM else {}
            group.create_dataset(field.name, data=value, **packed)
        else:
            group.attrs[field.name] = value


def read_record(group: h5py.Group, kind: type[Record]) -> Record:
    """The record of that kind in `group`."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in group:
            values[field.name] = read_h5_array(group[field.name], group.file.filename)
            continue
        value = group.attrs[field.name]
        if isinstance(value, np.ndarray):
            values[field.name] = tuple(value.tolist())
        else:
            values[field.name] = value.item() if isinstance(value, np.generic) else value
    return kind(**values)


def read_predictions(path: Path, kind: type[Record]) -> Iterator[tuple[str, Record]]:
    """Name and prediction of each pair in the file at `path`, in order, one in memory at a time."""
    with told_as(path, "a file of predictions"), open_untrusted_h5(path) as file:
        count = len(file)
    for number in range(count):
        yield read_prediction(path, number, kind)


def read_prediction(path: Path, number: int, kind: type[Record]) -> tuple[str, Record]:
    """Name and prediction of the pair of that number."""
    with told_as(path, "a file of predictions"), open_untrusted_h5(path) as file:
        group = file[str(number)]
        return str(group.attrs["name"]), read_record(group, kind)
