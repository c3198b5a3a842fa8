"""Folders of colour, depth and poses: frames with their cameras, in the layouts that scans come in.

    frames.json     objects with image, depth, T_c2w and K (Kd if the depth has its own camera)
    pairs.json      objects with image0, image1, depth0, depth1, T_0to1, K0, K1 (and Kd): only those pairs
    SensReader/python   color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_{color,depth}.txt
    SensReader/c++, 7-Scenes   frame-N.color.{jpg,png}, .depth.{png,pgm}, .pose.txt, perhaps _info.txt

Depth is 16-bit, in millimetres; 0 and 65535 are unknown. A folder may hold one scan, or folders of scans.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.catalogue import OWN
from data_scripts.image_files import read_image
from data_scripts.images import read_depth
from data_scripts.planners.raw_files import read_pose
from data_scripts.planners.scannet_frames import camera
from data_scripts.shard_files import scaled_K
from data_scripts.untrusted import read_json_rows

MM = 0.001
FARTHEST = 65.0  # metres; 65535 mm says unknown, in 7-Scenes
WANTED = (
    "frames.json, pairs.json, color/ depth/ pose/ intrinsic/ (SensReader, Python), or frame-*.color.*, "
    ".depth.*, .pose.txt (SensReader, C++; 7-Scenes)"
)


@dataclass(frozen=True)
class Frame:
    """Files and camera of an RGB-D frame."""

    image: Path
    depth: Path
    K: np.ndarray  # (3, 3) px of the image
    K_depth: np.ndarray | None  # (3, 3) px of the depth map; None: K, at its size
    T_w2c: np.ndarray | None  # (4, 4); None where only motions between frames are known

    def read_depth(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth (H, W) in metres, 0 unknown, and the intrinsics in its pixels."""
        depth = read_depth(self.depth, MM)
        depth[depth > FARTHEST] = 0
        if self.K_depth is not None:
            return depth, self.K_depth
        return depth, scaled_K(self.K, read_image(self.image).shape[:2], depth.shape)


@dataclass(frozen=True)
class Scan:
    """Frames of one place, and the motions between them where those alone are known."""

    name: str
    frames: Sequence[Frame]
    listed: Sequence[tuple[int, int, np.ndarray]] = ()  # frame 0, frame 1, T_0to1
    lost: int = 0  # frames left out: no depth, or no finite pose


def find_scans(raw: Path, K: np.ndarray | None = None) -> list[Scan]:
    """The scans in `raw` or in its folders; `K` stands in where a layout tells no intrinsics.

    Raises:
        FileNotFoundError: no scan in a layout that is known.
        ValueError: a scan whose files cannot be read, or without intrinsics.
    """
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: wanted a folder of colour, depth and poses, got none")
    folders = [raw, *sorted(path for path in raw.iterdir() if path.is_dir())]
    found = [scan for folder in folders if (scan := _scan(folder, K)) is not None]
    if not found:
        raise FileNotFoundError(
            OWN.missing(f"{raw}: wanted {WANTED}, there or in folders below it")
        )
    return found


def _scan(folder: Path, K: np.ndarray | None) -> Scan | None:
    if (folder / "frames.json").exists():
        return _listed_frames(folder)
    if (folder / "pairs.json").exists():
        return _listed_pairs(folder)
    if (folder / "color").is_dir() and (folder / "pose").is_dir():
        return _python_export(folder, K)
    if next(folder.glob("frame-*.pose.txt"), None) is not None:
        return _flat_export(folder, K)
    return None


def _listed_frames(folder: Path) -> Scan:
    path = folder / "frames.json"
    frames = []
    for n, row in enumerate(read_json_rows(path, "a JSON list of frames")):
        where = f"{path}, frame {n}"
        T_c2w = _matrix(row, "T_c2w", 4, where)
        K, K_depth = _matrix(row, "K", 3, where), _optional_matrix(row, "Kd", 3, where)
        image, depth = (_file(row, key, folder, where) for key in ("image", "depth"))
        frames.append(Frame(image, depth, K, K_depth, np.linalg.inv(T_c2w)))
    return Scan(folder.name, frames)


def _listed_pairs(folder: Path) -> Scan | None:
    """The frames of a list of pairs with depth; None where the list tells of no depth."""
    path = folder / "pairs.json"
    frames: list[Frame] = []
    numbers_of: dict[Path, int] = {}
    listed = []
    for n, row in enumerate(read_json_rows(path)):
        if "depth0" not in row or "T_0to1" not in row:
            return None
        where = f"{path}, pair {n}"
        K_depth = _optional_matrix(row, "Kd", 3, where)
        ends = []
        for side in "01":
            image, depth = (_file(row, key + side, folder, where) for key in ("image", "depth"))
            K = _matrix(row, f"K{side}", 3, where)
            ends.append(numbers_of.setdefault(image, len(frames)))
            if ends[-1] == len(frames):
                frames.append(Frame(image, depth, K, K_depth, None))
        listed.append((ends[0], ends[1], _matrix(row, "T_0to1", 4, where)))
    return Scan(folder.name, frames, listed)


def _python_export(folder: Path, K: np.ndarray | None) -> Scan:
    own = camera(folder, "color")
    K_image = _given(K if own is None else own, folder)
    images = [p for p in (folder / "color").iterdir() if p.suffix in (".jpg", ".png")]
    triples = [
        (image, folder / "depth" / f"{image.stem}.png", folder / "pose" / f"{image.stem}.txt")
        for image in sorted(images, key=lambda path: _number(path.stem))
    ]
    return _posed(folder, triples, K_image, camera(folder, "depth"))


def _flat_export(folder: Path, K: np.ndarray | None) -> Scan:
    own = camera(folder, "color")
    K_image = _given(K if own is None else own, folder)
    triples = []
    for pose in sorted(folder.glob("frame-*.pose.txt")):
        stem = pose.name.removesuffix(".pose.txt")
        image = _first(folder, f"{stem}.color", (".jpg", ".png"))
        triples.append((image, _first(folder, f"{stem}.depth", (".png", ".pgm")), pose))
    return _posed(folder, triples, K_image, camera(folder, "depth"))


def _posed(
    folder: Path,
    triples: Sequence[tuple[Path, Path, Path]],
    K: np.ndarray,
    K_depth: np.ndarray | None,
) -> Scan:
    """The frames all of whose files are there and whose pose is finite."""
    frames = []
    for image, depth, pose in triples:
        if image.exists() and depth.exists() and pose.exists():
            T_w2c = read_pose(pose)
            if T_w2c is not None:
                frames.append(Frame(image, depth, K, K_depth, T_w2c))
    return Scan(folder.name, frames, lost=len(triples) - len(frames))


def _given(K: np.ndarray | None, folder: Path) -> np.ndarray:
    if K is None:
        raise ValueError(
            f"{folder}: wanted intrinsics, got no file of them; give --intrinsics fx fy cx cy"
        )
    return K


def _first(folder: Path, stem: str, suffixes: Sequence[str]) -> Path:
    """The file that exists, else the first that might."""
    names = [folder / f"{stem}{suffix}" for suffix in suffixes]
    return next((path for path in names if path.exists()), names[0])


def _number(stem: str) -> tuple[int, str]:
    found = re.search(r"\d+", stem)
    return int(found[0]) if found else -1, stem


def _file(row: dict[str, Any], key: str, folder: Path, where: str) -> Path:
    name = row.get(key)
    if not isinstance(name, str):
        raise ValueError(f"{where}: wanted a file name {key}, got {name!r}")
    return folder / name


def _matrix(row: dict[str, Any], key: str, size: int, where: str) -> np.ndarray:
    try:
        matrix = np.array(row[key], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: wanted {key} ({size}, {size}), got {error!r}") from error
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{where}: wanted a finite {key} ({size}, {size}), got {matrix.shape}")
    return matrix


def _optional_matrix(row: dict[str, Any], key: str, size: int, where: str) -> np.ndarray | None:
    return _matrix(row, key, size, where) if key in row else None
