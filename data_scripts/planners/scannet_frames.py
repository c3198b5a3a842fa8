"""Files of a ScanNet scan's frames, as either of the official SensReaders writes them.

    Python   color/15.jpg, depth/15.png, pose/15.txt, intrinsic/intrinsic_{color,depth}.txt
    C++      frame-000015.color.jpg, .depth.pgm (or .png), .pose.txt, _info.txt

The two decode the colour stream differently: SuperGlue scores 14.7 / 32.6 / 50.9 on the one and
16.1 / 33.8 / 51.8 on the other (its issue 82), so an accuracy should say which it was.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.planners.raw_files import numbers, read_calibration, read_matrix

CPP_INFO = "_info.txt"
CPP_CAMERAS = {"color": "m_calibrationColorIntrinsic", "depth": "m_calibrationDepthIntrinsic"}


@dataclass(frozen=True)
class FrameFiles:
    """One frame; the files need not be there."""

    image: Path
    depth: Path
    pose: Path


def frame_files(folder: Path, frame: int) -> FrameFiles:
    """The files of `frame` in the folder of a scan; of the Python reader where there are none."""
    stem = f"frame-{frame:06d}"
    image = folder / f"{stem}.color.jpg"
    if image.exists():
        depth = folder / f"{stem}.depth.pgm"
        depth = depth if depth.exists() else depth.with_suffix(".png")
        return FrameFiles(image, depth, folder / f"{stem}.pose.txt")
    return FrameFiles(
        image=folder / "color" / f"{frame}.jpg",
        depth=folder / "depth" / f"{frame}.png",
        pose=folder / "pose" / f"{frame}.txt",
    )


def camera(folder: Path, kind: str) -> np.ndarray | None:
    """Intrinsics (3, 3) of the "color" or "depth" camera of a scan; None where no file tells them."""
    path = folder / "intrinsic" / f"intrinsic_{kind}.txt"
    if path.exists():
        return read_matrix(path, 3, 3)
    path = folder / CPP_INFO
    if not path.exists():
        return None
    found = read_calibration(path).get(CPP_CAMERAS[kind])
    return None if found is None else numbers(found, 16, path).reshape(4, 4)[:3, :3]
