"""One rectified stereo pair with its labels, and how large disparities are drawn.

Left pixel x matches right pixel x - disp in the same row, disp >= 0; right pixel x matches left
pixel x + disp_right. Pixel centres: the top-left pixel is (0, 0).
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

LEAST_LARGEST_PX = 12.0  # least value of the largest disparity of a synthetic pair
LIMIT_SHARE, LIMIT_PX = 0.4, 192.0  # most of it by default: a share of the width, and px


@dataclass(frozen=True)
class RectifiedPair:
    """A rectified pair with the disparity of the left image and, where made, of the right."""

    left: Tensor  # (3, H, W) float32 in [0, 1]
    right: Tensor  # (3, H, W)
    disp: Tensor  # (H, W) float32 px of the left image; 0 where unknown
    known: Tensor  # (H, W) bool: disparity is known, of synthetic pairs also where occluded
    occluded: Tensor  # (H, W) bool: not visible in the right image, or outside it
    disp_right: Tensor | None = None  # (H, W) the same for the right image
    known_right: Tensor | None = None
    occluded_right: Tensor | None = None

    def __post_init__(self) -> None:
        if self.left.ndim != 3 or self.left.shape[0] != 3:
            raise ValueError(f"left must be (3, H, W), got {tuple(self.left.shape)}")
        if self.right.shape != self.left.shape:
            raise ValueError(
                f"right must be of the size of left {tuple(self.left.shape)}, got "
                f"{tuple(self.right.shape)}; rectified images have one size"
            )
        for name in ("disp", "known", "occluded", "disp_right", "known_right", "occluded_right"):
            value = getattr(self, name)
            if value is not None and value.shape != self.left.shape[1:]:
                raise ValueError(
                    f"{name} must be (H, W) {tuple(self.left.shape[1:])}, got {tuple(value.shape)}"
                )

    @property
    def both_sides(self) -> bool:
        """Whether the labels of the right image are there too."""
        sides = (self.disp_right, self.known_right, self.occluded_right)
        return all(label is not None for label in sides)


def flipped_and_swapped(pair: RectifiedPair) -> RectifiedPair:
    """The pair mirrored left to right with its eyes exchanged: again rectified, disp >= 0."""
    if pair.disp_right is None or pair.known_right is None or pair.occluded_right is None:
        raise ValueError(
            "pair must have disp_right, known_right and occluded_right to be swapped, got None; "
            "swap only pairs with labels on both sides (pair.both_sides)"
        )
    return RectifiedPair(
        left=pair.right.flip(-1),
        right=pair.left.flip(-1),
        disp=pair.disp_right.flip(-1),
        known=pair.known_right.flip(-1),
        occluded=pair.occluded_right.flip(-1),
        disp_right=pair.disp.flip(-1),
        known_right=pair.known.flip(-1),
        occluded_right=pair.occluded.flip(-1),
    )


def random_largest_disp(width: int, limit_px: float | None, rng: np.random.Generator) -> float:
    """Largest disparity in px for a pair of `width`, log-uniform up to `limit_px`.

    None as limit: 0.4 of the width, at most 192 px.
    """
    limit = min(LIMIT_SHARE * width, LIMIT_PX) if limit_px is None else limit_px
    least = min(LEAST_LARGEST_PX, limit / 2)
    return float(np.exp(rng.uniform(np.log(least), np.log(limit))))
