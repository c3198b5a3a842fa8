"""Matches of many pairs in files that are whole or not there: a shard holds so many pairs of a list.

Layout of a shard, HDF5; P pairs, N matches of all of them together, row n of the last three one match:

    image0, image1   (P,) text          names of the images
    size0, size1     (P, 2) int32       height and width in pixels of the images as given; 0 where failed
    error0, error1   (P,) text          why an image could not be read; empty where it could
    error            (P,) text          why a pair failed whose images could be read; empty where it did not
    start            (P + 1,) int64     matches of pair p are rows start[p] to start[p + 1]
    keypoints0, keypoints1   (N, 2) float32   x, y in pixels of the images as given
    confidence       (N,) float32       best first within a pair

Equal results give equal bytes.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from data_scripts.atomic import replacing
from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as
from matching.matches import Matches

WORDS = ("image0", "image1", "error0", "error1", "error")
COLUMNS = ("keypoints0", "keypoints1", "confidence")
NUMBERS = ("size0", "size1", "start", *COLUMNS)


@dataclass(frozen=True)
class PairResult:
    """What came of one pair."""

    image0: str
    image1: str
    size0: tuple[int, int]  # height, width in pixels as given; (0, 0) where it failed
    size1: tuple[int, int]
    matches: Matches
    error0: str = ""  # one line where image 0 could not be read
    error1: str = ""
    error: str = ""  # one line where the pair failed though both could

    @property
    def why(self) -> str:
        """Why there is no result; empty where there is one."""
        return self.error0 or self.error1 or self.error

    @staticmethod
    def failed(
        names: tuple[str, str], error0: str = "", error1: str = "", error: str = ""
    ) -> "PairResult":
        """A pair without a result."""
        empty = np.zeros((0, 2), np.float32)
        nothing = Matches(empty, empty, np.zeros(0, np.float32))
        return PairResult(*names, (0, 0), (0, 0), nothing, error0, error1, error)


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard below the folder of a run."""
    return folder / "shards" / f"{number:08d}.h5"


def write_shard(path: Path, results: Sequence[PairResult]) -> None:
    """Writes a shard; after a crash or power cut the file is there whole, or not at all."""
    text = h5py.string_dtype("utf-8")
    counts = [len(result.matches) for result in results]
    columns = {
        "size0": np.array([result.size0 for result in results], np.int32).reshape(-1, 2),
        "size1": np.array([result.size1 for result in results], np.int32).reshape(-1, 2),
        "start": np.cumsum([0, *counts], dtype=np.int64),
        "keypoints0": _joined([result.matches.kpts0 for result in results], (0, 2)),
        "keypoints1": _joined([result.matches.kpts1 for result in results], (0, 2)),
        "confidence": _joined([result.matches.confidence for result in results], (0,)),
    }
    words = {name: [getattr(r, name) for r in results] for name in WORDS}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        with h5py.File(temporary, "w", track_order=True) as file:
            for name, values in words.items():
                file.create_dataset(name, data=values, dtype=text)
            for name, array in columns.items():
                file.create_dataset(name, data=array)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # else the name may outlive a power cut, and the content not


def read_shard(path: Path) -> list[PairResult]:
    """The results in a shard, in their order.

    Raises:
        ValueError: no whole shard; the message names the file.
    """
    with told_as(path, "a whole shard of matches (delete a broken one and run the batch again)"):
        with open_untrusted_h5(path) as file:
            data = {name: read_h5_array(file[name], path) for name in (*WORDS, *NUMBERS)}
        words = {name: [word.decode("utf-8") for word in data[name]] for name in WORDS}
        _check(data, len(words["image0"]))
    start = data["start"]
    return [
        PairResult(
            words["image0"][p],
            words["image1"][p],
            (int(data["size0"][p, 0]), int(data["size0"][p, 1])),
            (int(data["size1"][p, 0]), int(data["size1"][p, 1])),
            Matches(*(data[name][start[p] : start[p + 1]] for name in COLUMNS)),
            *(words[name][p] for name in ("error0", "error1", "error")),
        )
        for p in range(len(words["image0"]))
    ]


def read_results(folder: Path) -> Iterator[PairResult]:
    """Every result of a run, in the order of its pairs.

    Raises:
        FileNotFoundError: `folder` holds no run.
        ValueError: a shard is broken.
    """
    paths = sorted((folder / "shards").glob("[0-9]*.h5"))
    if not paths:
        raise FileNotFoundError(
            f"{folder}: there are no shards of matches; name the --out of python -m matching batch"
        )
    for path in paths:
        yield from read_shard(path)


def _joined(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.zeros(empty, np.float32), *parts])


def _check(data: dict[str, np.ndarray], pairs: int) -> None:
    start = data["start"]
    if any(len(data[name]) != pairs for name in WORDS) or start.dtype.kind != "i":
        raise ValueError("its columns do not fit each other")
    rows = int(start[-1])
    whole = start.shape == (pairs + 1,) and start[0] == 0 and (np.diff(start) >= 0).all()
    shapes = [data[name].shape for name in (*COLUMNS, "size0", "size1")]
    if not whole or shapes != [(rows, 2), (rows, 2), (rows,), (pairs, 2), (pairs, 2)]:
        raise ValueError("its columns do not fit each other")
