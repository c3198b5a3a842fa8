"""Predictions of one method on one benchmark: written pair by pair, kept in one HDF5 file.

While a run goes on, each pair is a small file in a folder beside, written under a temporary name and
renamed; so a run that is killed anywhere loses at most the pair it was at. The HDF5 file is made from them
at the end, the same way.

predictions.h5: attributes `identity` and `benchmark`; a group per pair with kpts0 (N, 2), kpts1 (N, 2),
confidence (N,) in pixels of the resized images, and attributes size0, size1 (height, width), scale0, scale1
(x, y), seconds, and error (empty, or why there are no matches).
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from data_scripts.atomic import replacing

ARRAYS = ("kpts0", "kpts1", "confidence")


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


class PredictionStore:
    """Predictions of one method on one benchmark in a folder; see the head of the file.

    Predictions of another identity that are found there are removed: they would be scored as ours.
    """

    def __init__(self, folder: Path, identity: str, benchmark: str) -> None:
        self.file = folder / "predictions.h5"
        self._parts = folder / "predictions.parts"
        self._identity, self._benchmark = identity, benchmark
        mark = self._parts / "identity"
        if self.is_complete() or (mark.is_file() and mark.read_text() == identity):
            return
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)
        mark.write_text(identity)

    def is_complete(self) -> bool:
        """Whether the HDF5 file is there and is of this identity."""
        if not self.file.is_file():
            return False
        with h5py.File(self.file) as file:
            return bool(file.attrs["identity"] == self._identity)

    def has(self, number: int) -> bool:
        """Whether the pair of that number is done."""
        return self._part(number).is_file()

    def add(self, number: int, prediction: Prediction) -> None:
        """Keeps the prediction of the pair of that number."""
        with replacing(self._part(number)) as temporary:
            np.savez(temporary, allow_pickle=False, **asdict(prediction))

    def finish(self, names: list[str]) -> None:
        """Makes the HDF5 file; `names` are those of the pairs in the order of their numbers."""
        with replacing(self.file) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(identity=self._identity, benchmark=self._benchmark)
            for number, name in enumerate(names):
                with np.load(self._part(number)) as part:
                    _write_group(file.create_group(str(number)), name, dict(part))
        shutil.rmtree(self._parts, ignore_errors=True)  # what a kill leaves here is never read

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.npz"


def _write_group(group: h5py.Group, name: str, values: dict[str, np.ndarray]) -> None:
    group.attrs["name"] = name
    for key, value in values.items():
        if key in ARRAYS:
            group.create_dataset(key, data=value)
        else:
            group.attrs[key] = value if key != "error" else str(value)


def read_predictions(path: Path) -> Iterator[tuple[str, Prediction]]:
    """Name and prediction of each pair in the file at `path`, in order."""
    with h5py.File(path) as file:
        for number in range(len(file)):
            group = file[str(number)]
            attrs = group.attrs
            kpts0, kpts1, confidence = (np.asarray(group[key]) for key in ARRAYS)
            yield (
                str(attrs["name"]),
                Prediction(
                    kpts0,
                    kpts1,
                    confidence,
                    size0=(int(attrs["size0"][0]), int(attrs["size0"][1])),
                    size1=(int(attrs["size1"][0]), int(attrs["size1"][1])),
                    scale0=(float(attrs["scale0"][0]), float(attrs["scale0"][1])),
                    scale1=(float(attrs["scale1"][0]), float(attrs["scale1"][1])),
                    seconds=float(attrs["seconds"]),
                    error=str(attrs["error"]),
                ),
            )
