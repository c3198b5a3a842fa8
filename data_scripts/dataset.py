"""Reading a converted data set: `open_dataset(path)` gives pairs whose images are decoded when asked.

Nothing but a few open files is held, so a set of a million pairs opens at once
and is walked in constant memory. A Dataset may be pickled and may cross a fork: every process opens
the files for itself. The layout of the files is told in `schema`.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import h5py
import numpy as np

from data_scripts import schema
from data_scripts.image_files import decode_image
from data_scripts.table_rows import TableRows
from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as

OPEN_SHARDS = 16  # files of records kept open

MapName = Literal["depth", "disparity", "occlusion", "objects"]


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """An image of a data set; what is large is read from the file by the methods, at every call."""

    dataset: "Dataset"
    number: int  # row of /images
    name: str  # different for each image
    size: tuple[int, int]  # H, W of the decoded image
    K: np.ndarray | None  # (3, 3) px of this image
    T_w2c: np.ndarray | None  # (4, 4): x_camera = T_w2c x_world
    K_depth: np.ndarray | None  # (3, 3) px of the depth map where its camera is another
    maps: frozenset[str]  # of schema.MAPS: which are there
    place: tuple[int, int]  # shard and row in it

    def encoded(self) -> bytes:
        """The image file as it was."""
        return self.dataset.shard(self.place[0]).image(self.place[1]).tobytes()

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return decode_image(self.encoded(), self._words, cv2.IMREAD_COLOR)

    def grey(self) -> np.ndarray:
        """(H, W) uint8, as `cv2.imread(file, cv2.IMREAD_GRAYSCALE)` gives it."""
        return decode_image(self.encoded(), self._words, cv2.IMREAD_GRAYSCALE)

    @property
    def _words(self) -> str:
        """What messages call the image."""
        return f"{self.dataset.path}: {self.name}"

    def depth(self) -> np.ndarray | None:
        """(Hd, Wd) float32 metres along the optical axis, 0 where unknown; its size may be another."""
        return self._quantity("depth", unknown=0.0)

    def disparity(self) -> np.ndarray | None:
        """(H, W) float32 px, positive, infinite where unknown; of a right image x + d is the left x."""
        return self._quantity("disparity", unknown=np.inf)

    def occlusion(self) -> np.ndarray | None:
        """(H, W) uint8 as the set tells it: schema.SEEN_BY_BOTH, OCCLUDED or UNKNOWN."""
        return self.stored("occlusion")[0] if "occlusion" in self.maps else None

    def objects(self) -> np.ndarray | None:
        """(H, W) uint8: 0 background, else the number of a moving object (KITTI 2015)."""
        return self.stored("objects")[0] if "objects" in self.maps else None

    def stored(self, name: MapName) -> tuple[np.ndarray, float | None]:
        """A map as it is stored, and the unit of its integers.

        Args:
            name: which; `maps` has those that are there.
        """
        return self.dataset.shard(self.place[0]).map(self.place[1], name)

    def _quantity(self, name: MapName, unknown: float) -> np.ndarray | None:
        if name not in self.maps:
            return None
        values, unit = self.stored(name)
        if values.dtype.kind == "f":
            return np.asarray(values, np.float32)
        known = values.astype(np.float32) * np.float32(unit)
        return np.where(values > 0, known, np.float32(unknown))


@dataclass(frozen=True, eq=False)
class PairRecord:
    """Two images of a data set and what is known of both together; None where it is not."""

    number: int  # row of /pairs
    group: str  # scene, sequence or sub-set; "" where there are none
    image0: ImageRecord  # stereo: the left one
    image1: ImageRecord
    T_0to1: np.ndarray | None = None  # (4, 4): x1 = T_0to1 x0
    H_0to1: np.ndarray | None = None  # (3, 3) px of image file 0 -> px of image file 1
    overlap: float | None = None  # share of image 0 that image 1 shows, as the set defines it
    turns: tuple[int, int] = (0, 0)  # quarter turns, np.rot90(image, k); K and T are before them
    focal_px: float | None = None  # stereo: depth = focal_px * baseline_m / (disparity + doffs_px)
    baseline_m: float | None = None
    doffs_px: float | None = None
    ndisp: int | None = None  # disparities lie below it

    @property
    def name(self) -> str:
        """Names of both images without their suffixes."""
        stems = [os.path.splitext(image.name)[0] for image in (self.image0, self.image1)]  # noqa: PTH122
        return "--".join(stems)


class OpenShard:
    """An open file of records."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: a file of records is missing; keep the shards beside their index, or convert "
                "the set again"
            )
        self.path = path
        self.file = open_h5(path)

    def image(self, row: int) -> np.ndarray:
        """(bytes,) uint8 of the image file in record `row`."""
        with told_as(self.path, f"an image in record {row}"):
            return read_h5_array(self._dataset(row, schema.IMAGE), self.path)

    def crc(self, row: int) -> int:
        """CRC-32 of the image file in record `row`, as it was when it was converted."""
        return int(self._dataset(row, schema.IMAGE).attrs[schema.CRC])

    def map(self, row: int, name: str) -> tuple[np.ndarray, float | None]:
        """A map of record `row` as it is stored, and the unit of its integers."""
        with told_as(self.path, f"{name} in record {row}"):
            stored = self._dataset(row, name)
            unit = stored.attrs.get(schema.UNIT)
            return read_h5_array(stored, self.path), None if unit is None else float(unit)

    def _dataset(self, row: int, name: str) -> h5py.Dataset:
        try:
            return self.file[f"{schema.record_name(row)}/{name}"]
        except KeyError as error:
            raise ValueError(
                f"{self.path}: wanted {name} of record {row}, got none; the file is damaged or of "
                "another conversion: convert the set again"
            ) from error


class Dataset:
    """The pairs of a converted set: `len(data)`, `data[n]`, `for pair in data`, `data.image(n)`.

    Args:
        path: the .h5 file of the index.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._process = -1
        self._open_index()

    def __len__(self) -> int:
        return len(self._tables()["pairs"])

    def __getitem__(self, number: int) -> PairRecord:
        row = self._tables()["pairs"].row(number)
        with told_as(self.path, f"a row for pair {number}"):
            return self._pair(row, range(len(self))[number])

    def __iter__(self) -> Iterator[PairRecord]:
        return (self[number] for number in range(len(self)))

    @property
    def image_count(self) -> int:
        """Number of images."""
        return len(self._tables()["images"])

    def image(self, number: int) -> ImageRecord:
        """Image `number`, decoded only when asked."""
        with told_as(self.path, f"a row for image {number}"):
            return self._image(number)

    def images(self) -> Iterator[ImageRecord]:
        """All images, in their order."""
        return (self.image(number) for number in range(self.image_count))

    def rows(self, table: Literal["pairs", "images"], start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` - 1 of a table as a structured array, for work on many at once."""
        return self._tables()[table].slice(start, stop)

    def shard(self, number: int) -> OpenShard:
        """The open file of records `number`."""
        self._tables()
        if number in self._shards:
            self._shards.move_to_end(number)
            return self._shards[number]
        if not 0 <= number < len(self.shard_names):
            raise ValueError(
                f"{self.path}: wanted a shard below {len(self.shard_names)}, got {number}; "
                "the index is damaged: convert the set again"
            )
        name = self.shard_names[number]
        shard = OpenShard(self.path.parent / name if name else self.path)
        self._shards[number] = shard
        if len(self._shards) > OPEN_SHARDS:
            _, oldest = self._shards.popitem(last=False)
            oldest.file.close()
        return shard

    def close(self) -> None:
        """Closes the files of this process; the next access opens them again."""
        if self._process == os.getpid():
            for shard in self._shards.values():
                shard.file.close()
            for table in self._rows.values():
                table.close()
            self._file.close()
        self._process = -1

    def __enter__(self) -> "Dataset":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type["Dataset"], tuple[Path]]:
        return Dataset, (self.path,)

    def _tables(self) -> dict[str, TableRows]:
        """The tables, opened by this process: HDF5 handles must not be shared across a fork."""
        if self._process != os.getpid():
            self._open_index()
        return self._rows

    def _open_index(self) -> None:
        self._file = open_h5(self.path)
        self._process = os.getpid()
        self._shards: OrderedDict[int, OpenShard] = OrderedDict()
        with told_as(self.path, "the index of a converted set"):
            self._read_index()

    def _read_index(self) -> None:
        self.info = schema.read_info(self._file, self.path)
        self.groups = [str(name) for name in self._column(schema.GROUPS)]
        self.shard_names = [str(name) for name in self._column(schema.SHARDS)]
        self.skipped = [str(line) for line in self._column(schema.SKIPPED)]
        for name in (schema.IMAGES, schema.PAIRS):
            if name not in self._file:
                raise ValueError(f"{self.path}: wanted a table {name}, got none; convert it again")
        self._rows = {
            "images": TableRows(self._file[schema.IMAGES], self.path),
            "pairs": TableRows(self._file[schema.PAIRS], self.path),
        }

    def _column(self, name: str) -> Any:
        if name not in self._file:
            return []
        return [word.decode() for word in read_h5_array(self._file[name], self.path)]

    def _pair(self, row: np.void, number: int) -> PairRecord:
        image0, image1 = self._image(int(row["image0"])), self._image(int(row["image1"]))
        T_0to1 = _matrix(row, "T_0to1")
        if T_0to1 is None and image0.T_w2c is not None and image1.T_w2c is not None:
            T_0to1 = image1.T_w2c @ np.linalg.inv(image0.T_w2c)
        ndisp = int(row["ndisp"]) if _has(row, "ndisp") else 0
        return PairRecord(
            number=number,
            group=self.groups[row["group"]] if self.groups else "",
            image0=image0,
            image1=image1,
            T_0to1=T_0to1,
            H_0to1=_matrix(row, "H_0to1"),
            overlap=_number(row, "overlap"),
            turns=(int(row["turns"][0]), int(row["turns"][1])) if _has(row, "turns") else (0, 0),
            focal_px=_number(row, "focal_px"),
            baseline_m=_number(row, "baseline_m"),
            doffs_px=_number(row, "doffs_px"),
            ndisp=ndisp or None,
        )

    def _image(self, number: int) -> ImageRecord:
        row = self._tables()["images"].row(number)
        return ImageRecord(
            dataset=self,
            number=number,
            name=row["name"].decode(),
            size=(int(row["height"]), int(row["width"])),
            K=_matrix(row, "K"),
            T_w2c=_matrix(row, "T_w2c"),
            K_depth=_matrix(row, "K_depth"),
            maps=frozenset(name for name in schema.MAPS if row[f"has_{name}"]),
            place=(int(row["shard"]), int(row["row"])),
        )


def open_dataset(path: str | Path) -> Dataset:
    """The converted data set whose index is at `path`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no converted data set, a damaged one, or one of another version of the layout.
    """
    return Dataset(path)


def open_h5(path: Path) -> h5py.File:
    """The HDF5 file at `path` for reading; errors as in open_dataset."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: wanted a converted data set (.h5), got no file; make one with "
            "python -m data_scripts COMMAND --out FILE"
        )
    try:
        return open_untrusted_h5(path)
    except OSError as error:
        raise ValueError(
            f"{path}: wanted an HDF5 file, got {error}; convert the set again"
        ) from error


def _has(row: np.void, name: str) -> bool:
    return name in (row.dtype.names or ())


def _matrix(row: np.void, name: str) -> np.ndarray | None:
    """A matrix of a row, None where it has none."""
    if not _has(row, name) or np.isnan(row[name].flat[0]):
        return None
    return np.array(row[name])


def _number(row: np.void, name: str) -> float | None:
    return float(row[name]) if _has(row, name) and not np.isnan(row[name]) else None
