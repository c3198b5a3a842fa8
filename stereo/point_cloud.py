"""Coloured points from a disparity, and the .ply file that holds them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing, writable
from data_scripts.given_images import Image, as_rgb8
from stereo.disparity import Disparity, disparity_to_depth

SHOWN_BELOW = 0.5  # probability of occlusion; what is likelier hidden has a guessed disparity
FARTHEST = 10.0  # in median depths; a sky at a hundredth of a pixel would dwarf the scene
PROPERTIES = (
    ("float", "x"),
    ("float", "y"),
    ("float", "z"),
    ("uchar", "red"),
    ("uchar", "green"),
    ("uchar", "blue"),
)
RECORD = np.dtype([(name, "<f4" if kind == "float" else "u1") for kind, name in PROPERTIES])


@dataclass(frozen=True)
class Calibration:
    """Rectified cameras.

    Args:
        focal_px: focal length, in pixels of the image as given.
        baseline_m: distance of the cameras.
        doffs_px: x of the right principal point less that of the left one.
        centre_px: principal point of the left image (x, y); None: its middle.
    """

    focal_px: float
    baseline_m: float
    doffs_px: float = 0.0
    centre_px: tuple[float, float] | None = None


@dataclass(frozen=True)
class PointCloud:
    """Points of the left camera's frame: x to the right, y down, z ahead."""

    points: np.ndarray  # (N, 3) float32, metres
    colours: np.ndarray  # (N, 3) uint8 RGB


def back_project(
    left: Image, disparity: Disparity, calibration: Calibration, keep: np.ndarray | None = None
) -> PointCloud:
    """The points that the left image shows, row by row.

    Args:
        left: the image of `disparity`.
        disparity: of the pair.
        calibration: of the pair.
        keep: bool (H, W); None: pixels that are likelier visible in both images than not, and no further
            away than ten times the median.
    """
    rgb = as_rgb8(left, "left")
    if rgb.shape[:2] != disparity.size:
        raise ValueError(
            f"left must be the image of the disparity, {disparity.size}, got {rgb.shape[:2]}"
        )
    depth = disparity_to_depth(
        disparity.disparity, calibration.focal_px, calibration.baseline_m, calibration.doffs_px
    )
    there = np.isfinite(depth)
    if keep is None:
        there &= disparity.occlusion < SHOWN_BELOW
        limit = FARTHEST * np.median(depth[there]) if there.any() else 0.0
        there &= depth <= limit
    else:
        there &= keep
    y, x = np.nonzero(there)
    H, W = depth.shape
    cx, cy = calibration.centre_px or ((W - 1) / 2, (H - 1) / 2)
    rays = np.stack([(x - cx), (y - cy), np.full(len(x), calibration.focal_px)], 1)
    points = rays / calibration.focal_px * depth[there][:, None]
    return PointCloud(points.astype(np.float32), rgb[there])


def write_ply(path: str | Path, cloud: PointCloud) -> None:
    """Writes a binary little-endian .ply with x, y, z in metres and red, green, blue.

    Args:
        path: of the file, .ply; it appears whole or not at all.
        cloud: the points.
    """
    path = writable(path, (".ply",))
    records = np.empty(len(cloud.points), RECORD)
    values = (*cloud.points.T, *cloud.colours.T)
    for (_, name), column in zip(PROPERTIES, values, strict=True):
        records[name] = column
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment x right, y down, z ahead of the left camera, metres",
        f"element vertex {len(records)}",
        *(f"property {kind} {name}" for kind, name in PROPERTIES),
        "end_header",
    ]
    header = "\n".join(lines) + "\n"
    with replacing(path) as temporary:
        temporary.write_bytes(header.encode() + records.tobytes())
