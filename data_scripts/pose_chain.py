"""Poses of frames between which only motions are known: those of each connected part, chained.

With poses, every two frames can be asked whether they see the same, not only those that a list names.
"""

from collections import deque
from dataclasses import replace

import numpy as np

from data_scripts.rgbd_folders import Scan

MOST_TURN_DEG = 1.0  # by which two ways to a frame may disagree; a drifting track is no truth
MOST_STEP_M = 0.05


def chained(scan: Scan) -> list[Scan]:
    """The connected parts of a scan, the largest first, with poses in place of motions.

    The world of a part is the camera of its first frame; a pose comes by the fewest motions. A scan that has
    poses is given back as it is. The largest part keeps the name, the others are name/2, name/3...

    Raises:
        ValueError: two ways to a frame disagree by more than MOST_TURN_DEG or MOST_STEP_M.
    """
    if not scan.listed:
        return [scan]
    neighbours: dict[int, list[tuple[int, np.ndarray]]] = {n: [] for n in range(len(scan.frames))}
    for i, j, T_0to1 in scan.listed:
        neighbours[i].append((j, T_0to1))
        neighbours[j].append((i, np.linalg.inv(T_0to1)))
    T_w2c: dict[int, np.ndarray] = {}
    parts = []
    for first in neighbours:
        if first in T_w2c:
            continue
        T_w2c[first] = np.eye(4)
        part, waiting = [first], deque([first])
        while waiting:
            here = waiting.popleft()
            for there, T_here_to_there in neighbours[here]:
                if there not in T_w2c:
                    T_w2c[there] = T_here_to_there @ T_w2c[here]
                    part.append(there)
                    waiting.append(there)
        parts.append(sorted(part))
    _check_loops(scan, T_w2c)
    parts.sort(key=len, reverse=True)
    return [
        Scan(
            scan.name if number == 1 else f"{scan.name}/{number}",
            [replace(scan.frames[n], T_w2c=T_w2c[n]) for n in part],
            lost=scan.lost if number == 1 else 0,
        )
        for number, part in enumerate(parts, 1)
    ]


def _check_loops(scan: Scan, T_w2c: dict[int, np.ndarray]) -> None:
    for i, j, T_0to1 in scan.listed:
        rest = T_0to1 @ T_w2c[i] @ np.linalg.inv(T_w2c[j])
        cosine = np.clip((np.trace(rest[:3, :3]) - 1) / 2, -1, 1)
        turn, step = np.rad2deg(np.arccos(cosine)), np.linalg.norm(rest[:3, 3])
        if turn > MOST_TURN_DEG or step > MOST_STEP_M:
            names = [scan.frames[n].image.name for n in (i, j)]
            raise ValueError(
                f"{scan.name}: the motion from {names[0]} to {names[1]} disagrees with a way over other "
                f"frames by {turn:.2f} degrees and {step:.3f} m; leave out --chain"
            )
