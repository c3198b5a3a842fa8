"""Depth, disparity and masks as data sets store them, read without loss for a converted file.

Integers stay integers, with the unit that makes them metres or pixels; see `schema` for what an unknown
pixel is. `READERS` names the formats.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_scripts import schema
from data_scripts.disparity_files import read_pfm
from data_scripts.image_files import read_image
from data_scripts.plan import MapSource
from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as

INTEGERS = (np.uint8, np.uint16)


def read_map(source: MapSource) -> np.ndarray:
    """The map of `source` as it is stored in a record.

    Raises:
        FileNotFoundError, ValueError: a file is missing or is no such map; the message names it.
    """
    return READERS[source.reader](source)


def _integers(source: MapSource) -> np.ndarray:
    """Grey integers whose 0 is unknown: depth of sensors, KITTI's and Middlebury's disparities."""
    values = _grey(source.paths[0])
    if values.dtype not in INTEGERS:
        raise ValueError(
            f"{source.paths[0]}: wanted a grey picture of 8 or 16 bits, got {values.dtype}"
        )
    if source.largest is not None:
        values = np.where(values > source.largest, values.dtype.type(0), values)
    return values


def _float_disparity(source: MapSource) -> np.ndarray:
    """A PFM disparity; what is not finite and above 0 is unknown."""
    values = read_pfm(source.paths[0])
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(np.inf))


def _signless_disparity(source: MapSource) -> np.ndarray:
    """A PFM disparity of a set that stores the motion of the pixel on one side, which is negative."""
    values = np.abs(read_pfm(source.paths[0]))
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(np.inf))


def _h5_depth(source: MapSource) -> np.ndarray:
    """MegaDepth's depth: HDF5 with one map `depth`, 0 where unknown."""
    path = Path(source.paths[0])
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such depth file; check the path")
    with told_as(path, "HDF5 with a map `depth`"), open_untrusted_h5(path) as file:
        values = read_h5_array(file["depth"], path).astype(np.float32)
    if values.ndim != 2:
        raise ValueError(f"{path}: wanted a depth (H, W), got {values.shape}")
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))


def _coded_mask(source: MapSource) -> np.ndarray:
    """Middlebury's mask: 255 seen by both, 128 occluded, 0 unknown."""
    values = _grey(source.paths[0])
    codes = (schema.UNKNOWN, schema.OCCLUDED, schema.SEEN_BY_BOTH)
    if strange := sorted(set(np.unique(values).tolist()) - set(codes)):
        raise ValueError(f"{source.paths[0]}: wanted a mask of {codes}, got {strange[:5]} as well")
    return values.astype(np.uint8)


def _occluded_mask(source: MapSource) -> np.ndarray:
    """SceneFlow's mask: not 0 where occluded."""
    occluded = _grey(source.paths[0]) > 0
    return np.where(occluded, np.uint8(schema.OCCLUDED), np.uint8(schema.SEEN_BY_BOTH))


def _two_disparities(source: MapSource) -> np.ndarray:
    """KITTI: known in the first map but not in the second, which holds what both images show."""
    known, seen = (_grey(path) > 0 for path in source.paths)
    if known.shape != seen.shape:
        raise ValueError(
            f"{source.paths[1]}: wanted the size of {source.paths[0]}, {known.shape}, got {seen.shape}"
        )
    codes = np.where(seen, schema.SEEN_BY_BOTH, schema.OCCLUDED)
    return np.where(known, codes, schema.UNKNOWN).astype(np.uint8)


def _grey(path: str) -> np.ndarray:
    values = read_image(path)
    return values if values.ndim == 2 else values[..., 0]


READERS: dict[str, Callable[[MapSource], np.ndarray]] = {
    "integers": _integers,
    "pfm": _float_disparity,
    "signless pfm": _signless_disparity,
    "h5 depth": _h5_depth,
    "coded mask": _coded_mask,
    "occluded mask": _occluded_mask,
    "two disparities": _two_disparities,
}
