"""Points of one image as given, found in another as given.

Stands between `matching.predictor`, which knows users, and `matching.point_model`, which knows tensors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from matching.network import ImageFeatures, Network
from matching.point_model import PointMatcher
from matching.resize import to_given_pixels, to_network_pixels, usable

VISIBLE = 0.5  # confidence from which a point counts as found, where nothing else is asked


@dataclass(frozen=True)
class PointMatches:
    """Where given points lie in another image; row n belongs to point n."""

    points1: np.ndarray  # (N, 2) float32 x, y in pixels of image 1 as given; NaN where not visible
    confidence: np.ndarray  # (N,) float32 in [0, 1] that the point is visible and within 5 px
    visible: np.ndarray  # (N,) bool: confident enough, and inside image 1

    def __len__(self) -> int:
        return len(self.confidence)


def find_points(
    network: Network,
    head: PointMatcher,
    sides: tuple[ImageFeatures, ImageFeatures],
    points: np.ndarray,
    min_confidence: float = VISIBLE,
) -> PointMatches:
    """Finds points (N, 2), in pixels of image 0 as given, in image 1.

    Args:
        network: makes the features.
        head: finds the points.
        sides: both images.
        points: may be NaN or outside.
        min_confidence: in [0, 1], from which a point counts as visible.
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be in [0, 1], got {min_confidence}")
    image0, image1 = (side.image for side in sides)
    asked = usable(points, image0)
    if not asked.any():
        return nowhere(len(points))
    features = [
        side.features[0] if 0 in side.features else network.features([side.image], 0)
        for side in sides
    ]
    seen = to_network_pixels(points[asked], image0)
    limit = np.array(image0.grey.shape[::-1]) - 1
    seen = seen.clip(0, limit)  # shrinking moves the outermost points half a pixel outside
    with network.running():
        pair = head.prepare(*features)
        found = head.find(pair, torch.from_numpy(seen).float().to(network.device)[None])
    points1 = np.full((len(points), 2), np.nan)
    confidence = np.zeros(len(points), np.float32)
    points1[asked] = to_given_pixels(found.points1[0].double().cpu().numpy(), image1)
    confidence[asked] = found.confidence[0].float().cpu().numpy()
    inside = usable(points1, image1)
    # An answer outside the image or under its mask is no answer, however sure the network is.
    confidence = np.where(inside, confidence, 0).astype(np.float32)
    visible = inside & (confidence >= min_confidence)
    points1[~visible] = np.nan
    return PointMatches(points1.astype(np.float32), confidence, visible)


def nowhere(count: int) -> PointMatches:
    """The answer for points of which none can be found."""
    missing = np.full((count, 2), np.nan, np.float32)
    return PointMatches(missing, np.zeros(count, np.float32), np.zeros(count, bool))


def as_points(points: Any, name: str = "points") -> np.ndarray:
    """Points (N, 2) float64; NaN and infinity are allowed, an empty list is (0, 2).

    Raises:
        ValueError: another shape.
        TypeError: not numbers.
    """
    try:
        array = np.asarray(points.detach().cpu() if isinstance(points, torch.Tensor) else points)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers (N, 2), x and y in pixels, got {error}") from error
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers (N, 2), x and y in pixels, got {array.dtype}")
    array = array.astype(np.float64)
    if array.size == 0 and array.ndim in (1, 2):
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} must be (N, 2), x and y in pixels, got {array.shape}")
    return array
