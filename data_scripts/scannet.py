"""ScanNet pairs in the layout that LoFTR made standard: `test.npz`, `intrinsics.npz`, frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.depth_pose import PosedImage, posed_pair
from data_scripts.images import Array, read_depth, read_rgb, resized
from data_scripts.two_view import TwoView
from data_scripts.untrusted import read_npz, told_as

# Frames are squeezed to the depth camera's size; the intrinsics of the index are for this size.
FRAME_SIZE = (480, 640)


@dataclass(frozen=True)
class ScanNetPair:
    """Two frames of one scan."""

    scene: str  # such as scene0707_00
    frames: tuple[int, int]
    K: Array  # (3, 3) pixels at FRAME_SIZE, of both frames
    T_0to1: Array  # (4, 4): x1 = T_0to1 x0


def read_pairs(index_path: Path, intrinsics_path: Path) -> list[ScanNetPair]:
    """The pairs of an index such as `test.npz`, in its order."""
    index, intrinsics = read_npz(index_path), read_npz(intrinsics_path)
    missing = [field for field in ("name", "rel_pose") if field not in index]
    if missing:
        raise ValueError(f"{index_path} must hold name and rel_pose, got {list(index)}")
    with told_as(intrinsics_path, "a (3, 3) camera for each scene"):
        cameras = {scene: K.astype(np.float64).reshape(3, 3) for scene, K in intrinsics.items()}
    with told_as(index_path, "name (N, 4) and rel_pose (N, 12)"):
        return _pairs(index, cameras, intrinsics_path)


def _pairs(
    index: dict[str, Array], cameras: dict[str, Array], intrinsics_path: Path
) -> list[ScanNetPair]:
    rows = list(zip(index["name"].tolist(), index["rel_pose"], strict=True))
    pairs = []
    for (scene, part, first, second), pose in rows:
        name = f"scene{scene:04d}_{part:02d}"
        if name not in cameras:
            raise ValueError(f"{intrinsics_path} must hold every scene of the index, got no {name}")
        T_0to1 = np.eye(4)
        T_0to1[:3] = pose.reshape(3, 4)
        pairs.append(ScanNetPair(name, (first, second), cameras[name], T_0to1))
    return pairs


def read_pair(root: Path, pair: ScanNetPair, long_side: int | None = 640) -> TwoView:
    """Images and labels of `pair`: `root`/scene/color/N.jpg and depth/N.png (millimetres)."""
    folder = root / pair.scene
    places = np.eye(4), pair.T_0to1  # the world is the first camera
    first, second = (
        PosedImage(
            image=resized(read_rgb(folder / "color" / f"{frame}.jpg"), FRAME_SIZE),
            depth=read_depth(folder / "depth" / f"{frame}.png"),
            K=pair.K,
            T_world_to_cam=place,
        ).resized(long_side)
        for frame, place in zip(pair.frames, places, strict=True)
    )
    return posed_pair(first, second)


def read_all(
    root: Path, index_path: Path, intrinsics_path: Path, long_side: int | None = 640
) -> Iterator[TwoView]:
    """Every pair of one index in turn."""
    for pair in read_pairs(index_path, intrinsics_path):
        yield read_pair(root, pair, long_side)
