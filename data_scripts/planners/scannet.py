"""ScanNet: frames exported with SensReader, or the test frames that are passed around, and lists of pairs.

A scan is a folder such as scene0707_00; `scannet_frames` tells what lies in it. Pairs come from LoFTR's indices: test.npz has `name` (scene, scan, frame 0, frame 1) and
rel_pose, the training files have `name` and `score`. Intrinsics come from intrinsics.npz, for frames of
640 x 480, or from the scan's own folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_scripts import schema
from data_scripts.catalogue import SCANNET
from data_scripts.plan import ImageSource, MapSource, Plan, PlanBuilder
from data_scripts.planners.raw_files import (
    Missing,
    existing_folder,
    info,
    read_arrays,
    read_pose,
)
from data_scripts.planners.scannet_frames import camera, frame_files
from data_scripts.scannet import FRAME_SIZE

MM = 0.001
INDEX_NAMES = ("test.npz", "intrinsics.npz")
INDEX_FOLDERS = (".", "scannet_test_1500", "index", "assets/scannet_test_1500")


@dataclass(frozen=True)
class Choice:
    """Which pairs are taken, and what of their frames."""

    pairs: Path | None = None  # an index .npz or a folder of them; None: test.npz in the raw folder
    intrinsics: Path | None = None  # intrinsics.npz; None: beside the index, else of the scans
    min_overlap: float = 0.0  # of indices with scores
    depth: bool = True


@dataclass
class Scans:
    """Frames of the scans below a folder, as image sources."""

    raw: Path
    cameras: Mapping[str, np.ndarray]
    depth: bool
    missing: Missing = field(default_factory=lambda: Missing(SCANNET))
    lost: int = 0  # frames without a pose where one is needed

    def source(self, scene: str, frame: int, needs_pose: bool) -> ImageSource | None:
        """A frame; None, and counted, where it is missing or has no pose but needs one."""
        folder = self._folder(scene)
        files = frame_files(folder, frame)
        if self.missing.lacks(files.image):
            return None
        T_w2c = read_pose(files.pose) if files.pose.exists() else None
        if needs_pose and T_w2c is None:
            self.lost += 1
            return None
        K, K_size = self._camera(scene, folder)
        maps: tuple[MapSource, ...] = ()
        if self.depth and files.depth.exists():
            maps = (MapSource("depth", "integers", (str(files.depth),), unit=MM),)
        return ImageSource(
            name=f"{scene}/{files.image.relative_to(folder).as_posix()}",
            path=str(files.image),
            K=K,
            K_size=K_size,
            T_w2c=T_w2c,
            K_depth=camera(folder, "depth") if maps else None,
            maps=maps,
        )

    def _folder(self, scene: str) -> Path:
        nested = self.raw / "scans" / scene
        return nested if nested.is_dir() else self.raw / scene

    def _camera(self, scene: str, folder: Path) -> tuple[np.ndarray, tuple[int, int] | None]:
        if scene in self.cameras:
            return self.cameras[scene], FRAME_SIZE
        K = camera(folder, "color")
        if K is None:
            raise ValueError(
                f"{folder}: wanted intrinsic/intrinsic_color.txt or _info.txt, got neither; give "
                "--intrinsics intrinsics.npz"
            )
        return K, None


def plan(raw: Path, choice: Choice | None = None) -> Plan:
    """The pairs of an index whose frames lie below `raw`, in its order."""
    choice = choice or Choice()
    existing_folder(raw, SCANNET)
    indices = _indices(raw, choice)
    scans = Scans(raw, _cameras(indices[0].parent, choice), choice.depth)
    builder = PlanBuilder()
    for path in indices:
        _add_index(builder, scans, path, choice)
    if not builder.rows:
        named = scans.missing.first[0] if scans.missing.first else "no pair in the indices"
        raise FileNotFoundError(
            SCANNET.missing(f"{raw}: none of the frames of the pairs is there, first {named}")
        )
    remarks = scans.missing.remarks("frames")
    if scans.lost:
        remarks.append(f"{scans.lost} frames have no finite pose; their pairs are left out")
    split = "test" if [path.name for path in indices] == ["test.npz"] else ""
    return builder.plan(info(SCANNET, split), remarks)


def _indices(raw: Path, choice: Choice) -> list[Path]:
    """Files of pairs."""
    if choice.pairs is not None and choice.pairs.is_dir():
        found = sorted(p for p in choice.pairs.glob("*.npz") if p.name != INDEX_NAMES[1])
    elif choice.pairs is not None:
        found = [choice.pairs]
    else:
        found = [p for name in INDEX_FOLDERS if (p := raw / name / INDEX_NAMES[0]).exists()][:1]
    if not found:
        raise FileNotFoundError(
            SCANNET.missing(
                f"{choice.pairs or raw}: wanted an index of pairs such as {INDEX_NAMES[0]}, got none; name "
                "one with --pairs, or make pairs with pairs_from_depth"
            )
        )
    return found


def _cameras(folder: Path, choice: Choice) -> Mapping[str, np.ndarray]:
    """Intrinsics of scans for frames of 640 x 480; none where the scans bring their own."""
    path = choice.intrinsics or folder / INDEX_NAMES[1]
    if choice.intrinsics is None and not path.exists():
        return {}
    cameras = {name: np.asarray(K, np.float64) for name, K in read_arrays(path).items()}
    if wrong := [name for name, K in cameras.items() if K.shape != (3, 3)]:
        raise ValueError(f"{path}: wanted (3, 3) for every scan, got another for {wrong[0]}")
    return cameras


def _add_index(builder: PlanBuilder, scans: Scans, path: Path, choice: Choice) -> None:
    index = read_arrays(path)
    names = index.get("name")
    if names is None or names.ndim != 2 or names.shape[1] != 4:
        raise ValueError(
            f"{path}: wanted `name` (N, 4) of scene, scan and frames, got {sorted(index)}"
        )
    poses, scores = index.get("rel_pose"), index.get("score")
    wanted = np.ones(len(names), bool) if scores is None else scores >= choice.min_overlap
    names = names[wanted].astype(np.int64)
    places = _places(builder, scans, names, needs_pose=poses is None)
    there = (places >= 0).all(1)
    if not there.any():
        return
    fields = [
        *(["T_0to1"] if poses is not None else []),
        *(["overlap"] if scores is not None else []),
    ]
    rows = schema.empty_rows(schema.pair_dtype(fields), int(there.sum()))
    rows["image0"], rows["image1"] = places[there].T
    groups = {
        tuple(key): builder.group(_scene(*key)) for key in np.unique(names[:, :2], axis=0).tolist()
    }
    rows["group"] = [groups[tuple(key)] for key in names[there, :2].tolist()]
    if poses is not None:
        if poses.shape != (len(wanted), 12):
            raise ValueError(f"{path}: wanted rel_pose ({len(wanted)}, 12), got {poses.shape}")
        rows["T_0to1"] = np.eye(4)
        rows["T_0to1"][:, :3] = poses[wanted][there].reshape(-1, 3, 4)
    if scores is not None:
        rows["overlap"] = scores[wanted][there]
    builder.block(rows)


def _places(builder: PlanBuilder, scans: Scans, names: np.ndarray, needs_pose: bool) -> np.ndarray:
    """(N, 2) numbers of the images of pairs, -1 for those that cannot be used; each frame once."""
    frames = np.concatenate([names[:, [0, 1, 2]], names[:, [0, 1, 3]]])
    unique, inverse = np.unique(frames, axis=0, return_inverse=True)
    found = np.full(len(unique), -1, np.int64)
    for n, (scene, part, frame) in enumerate(unique.tolist()):
        source = scans.source(_scene(scene, part), frame, needs_pose)
        if source is not None:
            found[n] = builder.image(source)
    return found[inverse.reshape(2, -1)].T


def _scene(scene: int, part: int) -> str:
    return f"scene{scene:04d}_{part:02d}"
