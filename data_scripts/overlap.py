"""How much of what one depth camera sees another one sees too.

The overlap of two views is the smaller of two shares: of the known pixels of either depth map, those that
fall into the other image at the depth found there. It is the measure by which SuperGlue (Sarlin et al.
2020, sec. B of the supplement) and LoFTR choose pairs, taken both ways.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_scripts.images import resize_map

TOLERANCE = (
    0.05  # relative, of depths that agree: sensors err by a few percent, real edges are larger
)
GRID = 40  # points along the longer side of a depth map, whose share is taken
LOOKED_UP = 160  # longer side of the depth map in which the other view's points are looked up


@dataclass(frozen=True)
class DepthView:
    """What overlap needs of a frame: some of its points, and its depth at a small size."""

    points: NDArray[np.float64]  # (P, 3) metres in its own camera
    depth: NDArray[np.float32]  # (h, w) metres, 0 where unknown
    K: NDArray[np.float64]  # (3, 3) px of `depth`


def depth_view(depth: np.ndarray, K: np.ndarray) -> DepthView:
    """The view of a depth map (H, W) in metres with intrinsics K in its pixels."""
    if depth.ndim != 2 or 0 in depth.shape:
        raise ValueError(f"depth must be (H, W) metres, got {depth.shape}")
    points = _points(*_shrunk(depth, K, GRID))
    small, small_K = _shrunk(depth, K, LOOKED_UP)
    return DepthView(points, small, small_K)


def _shrunk(depth: np.ndarray, K: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth and K at a size whose longer side is at most `long_side`; pixels are picked, not mixed."""
    H, W = depth.shape
    scale = min(1.0, long_side / max(H, W))
    size = max(1, round(H * scale)), max(1, round(W * scale))
    small = cv2.resize(depth.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, np.float32).reshape(size), resize_map((H, W), size) @ K


def _points(depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(depth > 0)
    rays = np.stack([x, y, np.ones(len(x))], 1) @ np.linalg.inv(K).T
    return rays * depth[y, x, None]


def overlap(first: DepthView, second: DepthView, T_0to1: np.ndarray) -> float:
    """The overlap in [0, 1] of two views; x1 = T_0to1 x0."""
    T_1to0 = np.linalg.inv(T_0to1)
    return min(seen_share(first, second, T_0to1), seen_share(second, first, T_1to0))


def seen_share(first: DepthView, second: DepthView, T_0to1: np.ndarray) -> float:
    """Share of the known points of `first` that `second` sees; 0 where it knows none."""
    if not len(first.points):
        return 0.0
    ahead = first.points @ T_0to1[:3, :3].T + T_0to1[:3, 3]
    ahead = ahead[ahead[:, 2] > 0]
    pixels = ahead @ second.K.T
    x, y = np.rint(pixels[:, :2] / pixels[:, 2:]).T
    h, w = second.depth.shape
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    there = second.depth[y[inside].astype(int), x[inside].astype(int)]
    depth = ahead[inside, 2]
    seen = (there > 0) & (np.abs(there - depth) < TOLERANCE * depth)
    return float(np.count_nonzero(seen) / len(first.points))


def sees(first: DepthView, second: DepthView, T_0to1: np.ndarray) -> bool:
    """Whether any point of a few of `first` falls into the image of `second`; cheap."""
    some = first.points[:: max(1, len(first.points) // 24)]
    ahead = some @ T_0to1[:3, :3].T + T_0to1[:3, 3]
    pixels = ahead[ahead[:, 2] > 0] @ second.K.T
    xy = pixels[:, :2] / pixels[:, 2:]
    return bool(((xy >= 0) & (xy < second.depth.shape[::-1])).all(1).any())
