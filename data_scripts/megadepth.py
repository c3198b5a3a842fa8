"""MegaDepth pairs in the layout that LoFTR made standard: scene indices, undistorted images, h5."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_scripts.depth_pose import PosedImage, posed_pair
from data_scripts.images import Array, read_rgb
from data_scripts.index_pickle import read_index
from data_scripts.two_view import TwoView
from data_scripts.untrusted import told_as

FIELDS = ("image_paths", "depth_paths", "intrinsics", "poses", "pair_infos")


@dataclass(frozen=True)
class MegaDepthView:
    """One image of a scene: its files and its camera."""

    image_path: str  # relative to the data set's root
    depth_path: str
    K: Array  # (3, 3) pixels of the undistorted image; top-left pixel centred at (0, 0)
    T_world_to_cam: Array  # (4, 4)


@dataclass(frozen=True)
class MegaDepthPair:
    """Two images that overlap."""

    views: tuple[MegaDepthView, MegaDepthView]
    overlap: float  # share of sparse points that both see

    @property
    def T_0to1(self) -> Array:  # noqa: N802
        """(4, 4): x1 = T_0to1 x0."""
        first, second = self.views
        return second.T_world_to_cam @ np.linalg.inv(first.T_world_to_cam)


def read_pairs(index_path: Path, min_overlap: float = 0.0) -> list[MegaDepthPair]:
    """The pairs of a scene index `*.npz` (a raw pickle) that overlap by at least `min_overlap`."""
    index = read_index(index_path)
    missing = [field for field in FIELDS if field not in index]
    if missing:
        raise ValueError(f"{index_path} must hold {', '.join(FIELDS)}; got no {', '.join(missing)}")
    with told_as(index_path, "pairs with images, depths, cameras and poses"):
        return _pairs(index, min_overlap)


def _pairs(index: dict[str, Any], min_overlap: float) -> list[MegaDepthPair]:
    # COLMAP counts from the corner of the image: its top-left pixel is centred at (0.5, 0.5)
    to_centres = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])

    def view(number: int) -> MegaDepthView:
        return MegaDepthView(
            image_path=index["image_paths"][number],
            depth_path=index["depth_paths"][number],
            K=to_centres @ np.asarray(index["intrinsics"][number], np.float64),
            T_world_to_cam=np.asarray(index["poses"][number], np.float64),
        )

    return [
        MegaDepthPair((view(first), view(second)), float(overlap))
        for (first, second), overlap, *_ in index["pair_infos"]
        if overlap >= min_overlap
    ]


def read_pair(root: Path, pair: MegaDepthPair, long_side: int | None = 840) -> TwoView:
    """Images and labels of `pair`, whose files lie under `root`."""
    first, second = (_read_view(root, view).resized(long_side) for view in pair.views)
    return posed_pair(first, second)


def read_all(
    root: Path, index_path: Path, min_overlap: float = 0.0, long_side: int | None = 840
) -> Iterator[TwoView]:
    """Every pair of one scene index in turn."""
    for pair in read_pairs(index_path, min_overlap):
        yield read_pair(root, pair, long_side)


def _read_view(root: Path, view: MegaDepthView) -> PosedImage:
    with h5py.File(root / view.depth_path) as file:
        depth = np.asarray(file["depth"], np.float32)
    image = read_rgb(root / view.image_path)
    return PosedImage(image, depth, view.K, view.T_world_to_cam)
