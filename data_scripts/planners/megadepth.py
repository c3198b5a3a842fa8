"""MegaDepth as LoFTR arranges it: scene indices (npz), undistorted images and depth in HDF5.

The indices are raw pickles; `index_pickle` reads them without running what they may hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts import schema
from data_scripts.catalogue import MEGADEPTH
from data_scripts.index_pickle import read_index
from data_scripts.megadepth import FIELDS
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import Missing, existing_folder, info

INDEX_FOLDERS = ("scene_info_val_1500", "scene_info_0.1_0.7", "index", ".")
TEST_LIST = "megadepth_test_1500.txt"  # names of scene indices in the order of the benchmark
# COLMAP counts from the corner of the image: its top-left pixel is centred at (0.5, 0.5)
CORNER_TO_CENTRE = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
NOTES = (
    "K is that of the indices moved by -0.5 px: COLMAP counts from the corner of the image, K here from "
    "the centre of its top-left pixel; add 0.5 to cx and cy for the numbers of the indices"
)


@dataclass(frozen=True)
class Choice:
    """Which pairs are taken."""

    min_overlap: float = 0.0
    depth: bool = True


def plan(raw: Path, index: Path | None = None, choice: Choice | None = None) -> Plan:
    """The pairs of the scene indices in `index`, whose files lie under `raw`.

    `index` is a folder, one .npz, or None for a folder in `raw`.
    """
    choice = choice or Choice()
    existing_folder(raw, MEGADEPTH)
    indices = _indices(raw, index)
    images, depths = Missing(MEGADEPTH), Missing(MEGADEPTH)
    builder = PlanBuilder()
    for path in indices:
        scene = _Scene(path, read_index(path))
        _add_scene(builder, scene, raw, choice, (images, depths))
    if not builder.rows:
        named = images.first[0] if images.first else "no pair in the indices"
        raise FileNotFoundError(
            MEGADEPTH.missing(
                f"{raw}: none of the images of {len(indices)} indices is there, first {named}"
            )
        )
    remarks = images.remarks("images") + depths.remarks("depth maps")
    return builder.plan(info(MEGADEPTH, notes=NOTES), remarks)


def _indices(raw: Path, index: Path | None) -> list[Path]:
    """The scene indices, in the order of the list of the benchmark where that lies beside them."""
    folders = [index] if index is not None else [raw / name for name in INDEX_FOLDERS]
    for folder in folders:
        if folder.is_file():
            return [folder]
        found = sorted(folder.glob("*.npz"))
        if found and (folder / TEST_LIST).exists():
            names = (folder / TEST_LIST).read_text().split()
            order = {
                Path(name).stem if name.endswith(".npz") else name: n
                for n, name in enumerate(names)
            }
            found = sorted((p for p in found if p.stem in order), key=lambda p: order[p.stem])
        if found:
            return found
    named = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        MEGADEPTH.missing(f"wanted scene indices .npz in {named}, got none; name them with --index")
    )


class _Scene:
    """The arrays of one index, checked."""

    def __init__(self, path: Path, index: dict[str, Any]) -> None:
        if missing := [name for name in FIELDS if name not in index]:
            raise ValueError(f"{path}: wanted {', '.join(FIELDS)}, got no {', '.join(missing)}")
        self.path = path
        self.image_paths: Sequence[Any] = index["image_paths"]
        self.depth_paths: Sequence[Any] = index["depth_paths"]
        self.intrinsics: Sequence[Any] = index["intrinsics"]
        self.poses: Sequence[Any] = index["poses"]
        self.pairs = self._pairs(index["pair_infos"])

    def _pairs(self, infos: Any) -> tuple[np.ndarray, np.ndarray]:
        """Image numbers (P, 2) and overlaps (P,)."""
        try:
            numbers = np.array([pair[0] for pair in infos], np.int64).reshape(-1, 2)
            overlaps = np.array([pair[1] for pair in infos], np.float32)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{self.path}: wanted pair_infos of (image0, image1), overlap, got {error}"
            ) from error
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self.image_paths):
            raise ValueError(
                f"{self.path}: wanted pairs of {len(self.image_paths)} images, got others"
            )
        return numbers, overlaps

    def source(self, number: int, raw: Path, depth: bool) -> ImageSource:
        """The image of that number with its camera."""
        name = self.image_paths[number]
        if not isinstance(name, str):
            raise ValueError(f"{self.path}: wanted a path for image {number}, got {name!r}")
        maps: tuple[MapSource, ...] = ()
        if depth:
            maps = (MapSource("depth", "h5 depth", (str(raw / str(self.depth_paths[number])),)),)
        return ImageSource(
            name=name,
            path=str(raw / name),
            K=CORNER_TO_CENTRE @ self._matrix(self.intrinsics, number, 3),
            T_w2c=self._matrix(self.poses, number, 4),
            maps=maps,
        )

    def has_depth(self, number: int) -> bool:
        """Whether the index names a depth map."""
        return isinstance(self.depth_paths[number], str)

    def _matrix(self, matrices: Sequence[Any], number: int, size: int) -> np.ndarray:
        try:
            matrix = np.asarray(matrices[number], np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: wanted a matrix for image {number}, got {error}"
            ) from error
        if matrix.shape != (size, size):
            raise ValueError(
                f"{self.path}: wanted a {size} x {size} matrix for image {number}, got {matrix.shape}"
            )
        return matrix


def _add_scene(
    builder: PlanBuilder, scene: _Scene, raw: Path, choice: Choice, missing: tuple[Missing, Missing]
) -> None:
    numbers, overlaps = scene.pairs
    wanted = overlaps >= choice.min_overlap
    numbers, overlaps = numbers[wanted], overlaps[wanted]
    places = np.full(len(scene.image_paths), -1, np.int64)
    for number in np.unique(numbers).tolist():
        source = scene.source(number, raw, depth=False)
        if missing[0].lacks(Path(source.path)):
            continue
        if choice.depth and scene.has_depth(number):
            path = raw / scene.depth_paths[number]
            if not missing[1].lacks(path):
                source = scene.source(number, raw, depth=True)
        places[number] = builder.image(source)
    found = places[numbers]
    there = (found >= 0).all(1)
    if not there.any():
        return
    rows = schema.empty_rows(schema.pair_dtype(("overlap",)), int(there.sum()))
    rows["image0"], rows["image1"] = found[there].T
    rows["overlap"] = overlaps[there]
    rows["group"] = builder.group(scene.path.stem)
    builder.block(rows)
