"""`python -m eval.generated FOLDER`: a made-up set in the layout and counts of ScanNet-1500, with exact matches.

Rooms with noise on their six walls, seen by two cameras inside. The rooms are convex, so whatever lies in both
pictures is seen by both, and matches are exact: fed back (`--method FOLDER/exact.h5`) they must give an AUC of 1.
Shows that the whole pass works, and what time and memory it takes, where ScanNet itself is not at hand.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import tyro
from tqdm import tqdm

from data_scripts.atomic import replacing
from data_scripts.command_line import check_counts, run_command

PROG = "python -m eval.generated"
SCENES_FROM = 707  # the first scene of the test set
PAIRS_PER_SCENE = 15
SIZE = (480, 640)  # that the intrinsics belong to
FRAME = (240, 320)  # of the files: small, because only the pass is tested
K = np.array([[577.9, 0, 319.9], [0, 578.7, 239.7], [0, 0, 1]])
ROOM_M = np.array([6.0, 3.0, 5.0])  # x, y, z
TEXELS = 512  # a side, per wall
MATCHES = 300


@dataclass(frozen=True)
class Arguments:
    """Writes frames, poses, test.npz and intrinsics.npz in ScanNet-1500's layout, and exact.h5."""

    folder: tyro.conf.Positional[Path]
    """Where to; made where it is missing."""
    pairs: int = 1500
    """How many."""
    seed: int = 0
    """Of the rooms and cameras."""


@dataclass(frozen=True)
class Room:
    """A box from (0, 0, 0) to ROOM_M with a picture on each wall."""

    walls: tuple[np.ndarray, ...]  # six (TEXELS, TEXELS, 3) uint8: x = 0, x = X, y = 0, ...

    def hits(self, centre: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Factor (P,) at which each ray (P, 3) from `centre` meets a wall first, and which wall (P,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = -centre / rays, (ROOM_M - centre) / rays
        ahead = np.stack([near, far], axis=2).reshape(-1, 6)
        ahead[~(ahead > 0)] = np.inf
        wall = ahead.argmin(1)
        return ahead[np.arange(len(rays)), wall], wall

    def picture(self, points: np.ndarray, wall: np.ndarray) -> np.ndarray:
        """FRAME (H, W, 3) uint8 whose pixels show points (H * W, 3) on the walls."""
        shares = (points / ROOM_M * (TEXELS - 1)).astype(np.float32)
        wall = wall.reshape(FRAME)
        shown = np.zeros((*FRAME, 3), np.uint8)
        for number, texture in enumerate(self.walls):
            u, v = (shares[:, axis].reshape(FRAME) for axis in range(3) if axis != number // 2)
            on = wall == number
            shown[on] = cv2.remap(texture, u, v, cv2.INTER_LINEAR)[on]
        return shown


def make_room(rng: np.random.Generator) -> Room:
    """A room whose walls carry noise of several scales, so that every place looks different."""
    walls = []
    for _ in range(6):
        picture = np.zeros((TEXELS, TEXELS, 3))
        for cells in (8, 32, 128, 256):
            noise = rng.normal(0, 30, (cells, cells, 3))
            picture += cv2.resize(noise, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)
        walls.append(np.clip(picture + 127, 0, 255).astype(np.uint8))
    return Room(tuple(walls))


def make_poses(room: Room, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Camera-to-world poses (4, 4): the first at random inside, the others at most 0.8 m and 25 degrees off.

    Every camera shows enough points of two walls to match with the first.
    """
    poses: list[np.ndarray] = []
    while len(poses) < count:
        pose = np.eye(4)
        if poses:
            axis, way = rng.normal(0, 1, (2, 3))
            pose[:3, :3] = _turn(axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(3, 25)))
            pose[:3, 3] = way / np.linalg.norm(way) * rng.uniform(0.1, 0.8)
            pose = poses[0] @ pose
        else:
            pose[:3, :3] = _turn(rng.normal(0, 1, 3) * [0.15, 1.5, 0.1])
            pose[:3, 3] = ROOM_M * rng.uniform(0.35, 0.65, 3)
        first = poses[0] if poses else pose
        if len(exact_matches(room, first, pose, rng)[0]) == MATCHES:
            poses.append(pose)
    return poses


def _turn(vector: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(vector.astype(np.float64))[0]


def render(room: Room, pose: np.ndarray) -> np.ndarray:
    """What a camera at `pose` sees, FRAME large, (H, W, 3) uint8."""
    rays = _rays(_pixel_grid(), pose)
    reach, wall = room.hits(pose[:3, 3], rays)
    return room.picture(pose[:3, 3] + rays * reach[:, None], wall)


def _pixel_grid() -> np.ndarray:
    """Pixel centres (P, 2) of a frame, in pixels of SIZE."""
    H, W = FRAME
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    scale = SIZE[1] / W, SIZE[0] / H
    return (np.column_stack([x.ravel(), y.ravel()]) + 0.5) * scale - 0.5


def _rays(kpts: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Rays (P, 3) in the world of pixels (P, 2) of SIZE, of length 1 along the axis."""
    return np.column_stack([kpts, np.ones(len(kpts))]) @ np.linalg.inv(K).T @ pose[:3, :3].T


def exact_matches(
    room: Room, pose0: np.ndarray, pose1: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """MATCHES points that both frames show, (N, 2) each, in pixels of SIZE; fewer where there are fewer.

    At most half of them are of one wall: two poses fit the points of one plane, and RANSAC may stop at the
    wrong one.
    """
    H, W = SIZE
    kpts0 = rng.uniform(0, (W - 1, H - 1), (8 * MATCHES, 2))
    rays = _rays(kpts0, pose0)
    reach, wall = room.hits(pose0[:3, 3], rays)
    points = pose0[:3, 3] + rays * reach[:, None]
    seen = (points - pose1[:3, 3]) @ pose1[:3, :3] @ K.T  # frame 1, then its pixels
    front = seen[:, 2] > 0.05
    kpts1 = seen[:, :2] / np.where(front, seen[:, 2], 1)[:, None]
    keep = front & (kpts1 >= 0).all(1) & (kpts1 <= (W - 1, H - 1)).all(1)
    seen_walls = wall[keep]
    rank = np.array([(seen_walls[:n] == each).sum() for n, each in enumerate(seen_walls)], int)
    chosen = np.flatnonzero(keep)[rank < MATCHES // 2][:MATCHES]
    return kpts0[chosen], kpts1[chosen]


def write_set(folder: Path, pairs: int, seed: int) -> None:
    """Writes the set; see the head of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names, relative, scenes = [], [], []
    scene_count = -(-pairs // PAIRS_PER_SCENE)
    with replacing(folder / "exact.h5") as temporary, h5py.File(temporary, "w") as file:
        for number in tqdm(range(scene_count), "scenes", disable=None):
            scene = f"scene{SCENES_FROM + number:04d}_00"
            count = min(PAIRS_PER_SCENE, pairs - number * PAIRS_PER_SCENE)
            scenes.append(scene)
            for frame, T_0to1, matches in _write_scene(folder / scene, count, rng):
                names.append((SCENES_FROM + number, 0, 0, frame))
                relative.append(T_0to1[:3].ravel())
                group = file.create_group(f"{scene}/0--{frame}")
                for key, kpts in zip(("kpts0", "kpts1"), matches, strict=True):
                    group[key] = _in_file_pixels(kpts)
    np.savez(
        folder / "test.npz",
        name=np.array(names, np.uint16),
        rel_pose=np.array(relative, np.float32),
    )
    np.savez(folder / "intrinsics.npz", allow_pickle=False, **dict.fromkeys(scenes, K))


def _write_scene(
    folder: Path, count: int, rng: np.random.Generator
) -> Iterator[tuple[int, np.ndarray, Sequence[np.ndarray]]]:
    """Writes frames and poses; frame number, T_0to1 and exact matches of each pair."""
    (folder / "color").mkdir(parents=True, exist_ok=True)
    (folder / "pose").mkdir(exist_ok=True)
    room = make_room(rng)
    poses = make_poses(room, rng, count + 1)
    for frame, pose in enumerate(poses):
        picture = cv2.cvtColor(render(room, pose), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "color" / f"{frame}.jpg"), picture)
        np.savetxt(folder / "pose" / f"{frame}.txt", pose, fmt="%.17g")
        if frame:
            T_0to1 = np.linalg.inv(pose) @ poses[0]
            yield frame, T_0to1, exact_matches(room, poses[0], pose, rng)


def _in_file_pixels(kpts: np.ndarray) -> np.ndarray:
    scale = FRAME[1] / SIZE[1], FRAME[0] / SIZE[0]
    return (kpts + 0.5) * scale - 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, or 2 where the folder cannot be written."""
    return run_command(PROG, lambda: _make(tyro.cli(Arguments, prog=PROG, args=argv)))


def _make(arguments: Arguments) -> None:
    check_counts(arguments, "pairs")
    write_set(arguments.folder, arguments.pairs, arguments.seed)
    print(f"{arguments.folder}: {arguments.pairs} pairs; exact matches in exact.h5")


if __name__ == "__main__":
    sys.exit(main())
