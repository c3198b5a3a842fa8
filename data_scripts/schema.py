"""The layout of a converted data set in HDF5: every name, type and unit of it stands here.

    set.h5                the index
        attributes        format, version and the fields of DatasetInfo
        /shards           names of the files with the records, relative to the index; "" is this file
        /groups           names of scenes, sequences or sub-sets, to which pairs belong
        /images           table, a row an image: see image_dtype
        /pairs            table, a row a pair of rows of /images: see pair_dtype
        /skipped          sources that could not be converted, with the reason
    a shard
        attributes        format, version, plan (digest of what was converted into it)
        /records/000012   row 12 of the shard
            image         uint8 (bytes,): the image file as it was; attribute crc32
            depth         (Hd, Wd) along the optical axis
            disparity     (H, W) px, positive: left pixel x matches right pixel x - disparity
            occlusion     uint8 (H, W): SEEN_BY_BOTH, OCCLUDED, or UNKNOWN
            objects       uint8 (H, W): 0 background, else the number of a moving object

Maps of floats hold metres or pixels, unknown as 0 (depth) or infinity (disparity). Maps of integers
have the attribute unit: metres or pixels per stored 1, and 0 is unknown. Pixels count from the centre of
the top-left one, (0, 0). Matrices are float64, NaN where a row has none; x_camera = T_w2c x_world and
x1 = T_0to1 x0. Fields that no row has are left out of the tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FORMAT = "quadview data set"
SHARD_FORMAT = "quadview shard"
VERSION = 1
IMAGES, PAIRS, GROUPS, SHARDS, SKIPPED = "images", "pairs", "groups", "shards", "skipped"
RECORDS, IMAGE, CRC, UNIT = "records", "image", "crc32", "unit"
MAPS = ("depth", "disparity", "occlusion", "objects")
CODED = ("occlusion", "objects")  # maps of codes, not of quantities
UNKNOWN, OCCLUDED, SEEN_BY_BOTH = 0, 128, 255  # in occlusion, as in Middlebury's masks

IMAGE_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "K": ("<f8", (3, 3)),  # px of the image file
    "T_w2c": ("<f8", (4, 4)),
    "K_depth": ("<f8", (3, 3)),  # px of the depth map; absent: its camera is that of the image
}
PAIR_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "T_0to1": ("<f8", (4, 4)),  # absent: of the T_w2c of its images
    "H_0to1": ("<f8", (3, 3)),  # px of image file 0 -> px of image file 1
    "overlap": ("<f4",),  # share of image 0 that image 1 shows, as the set defines it; NaN unknown
    "turns": (
        "i1",
        (2,),
    ),  # quarter turns (np.rot90) that make the images upright; K is before them
    "focal_px": ("<f8",),  # stereo: depth = focal_px * baseline_m / (disparity + doffs_px)
    "baseline_m": ("<f8",),
    "doffs_px": ("<f8",),
    "ndisp": ("<i4",),  # disparities lie below it; 0 unknown
}


@dataclass(frozen=True)
class DatasetInfo:
    """What a converted file says of itself."""

    dataset: str  # such as "KITTI 2015"
    split: str  # such as "train"; "" where there are none
    licence: str
    source: str  # where the set comes from, and whom to cite
    converter: str  # name and version of what wrote the file
    plan: str = ""  # digest of what was converted; the same inputs give the same
    notes: str = ""
    missing: str = ""  # what the raw data lacked, a line each


def image_dtype(name_bytes: int, options: Iterable[str] = ()) -> np.dtype:
    """Row of /images; `options` of IMAGE_OPTIONS.

    name is unique, UTF-8; shard and row say where the record is; height and width are of the decoded
    image; has_depth and so on whether the record holds that map.
    """
    return np.dtype(
        [
            ("name", h5py.string_dtype("utf-8", max(1, name_bytes))),
            ("shard", "<i4"),
            ("row", "<i4"),
            ("height", "<i4"),
            ("width", "<i4"),
            *[(f"has_{name}", "?") for name in MAPS],
            *_chosen(IMAGE_OPTIONS, options),
        ]
    )


def pair_dtype(options: Iterable[str] = ()) -> np.dtype:
    """Row of /pairs; `options` of PAIR_OPTIONS. image0, image1 and group are row numbers."""
    return np.dtype(
        [
            ("image0", "<i8"),
            ("image1", "<i8"),
            ("group", "<i4"),
            *_chosen(PAIR_OPTIONS, options),
        ]
    )


def _chosen(known: Mapping[str, tuple[Any, ...]], names: Iterable[str]) -> list[tuple[Any, ...]]:
    wanted = set(names)
    if unknown := wanted - set(known):
        raise ValueError(f"fields must be of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return [(name, *kind) for name, kind in known.items() if name in wanted]


def empty_rows(dtype: np.dtype, count: int) -> np.ndarray:
    """(count,) rows of zeros, floats NaN: nothing is known of them yet."""
    rows = np.zeros(count, dtype)
    for name in dtype.names or ():
        if dtype[name].base.kind == "f":
            rows[name] = np.nan
    return rows


def record_name(row: int) -> str:
    """Path of a record in its shard."""
    return f"{RECORDS}/{row:06d}"


def write_info(file: h5py.File, info: DatasetInfo) -> None:
    """Marks `file` as an index of this version that says `info`."""
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    for field in fields(info):
        file.attrs[field.name] = getattr(info, field.name)


def read_info(file: h5py.File, path: Path) -> DatasetInfo:
    """What an index says of itself.

    Raises:
        ValueError: no index of a converted data set, or one of another version.
    """
    check_format(file, path, FORMAT)
    return DatasetInfo(**{f.name: str(file.attrs.get(f.name, "")) for f in fields(DatasetInfo)})


def check_format(file: h5py.File, path: Path, wanted: str) -> None:
    """Raises ValueError where `file` is not marked as `wanted` in this version."""
    found, version = file.attrs.get("format"), file.attrs.get("version")
    if found != wanted:
        raise ValueError(
            f"{path}: wanted a {wanted} (format {wanted!r}), got format {found!r}; "
            "convert the raw data with python -m data_scripts"
        )
    if version != VERSION:
        raise ValueError(
            f"{path}: wanted version {VERSION} of the layout, got {version}; convert the set again"
        )


def strings(values: Iterable[str]) -> np.ndarray:
    """Texts as h5py stores them."""
    return np.array(list(values), dtype=h5py.string_dtype())
