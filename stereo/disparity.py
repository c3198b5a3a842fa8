"""What a disparity map is, and what follows from it: depth, occlusion, left-right consistency.

Left pixel x shows what right pixel x - disparity shows. A pixel whose disparity is not finite is unknown,
and nothing is claimed of it. Knows nothing of networks.
"""

from dataclasses import dataclass

import numpy as np

from data_scripts.compiled_loop import compiled

LEFT, RIGHT = -1, 1  # which way the matches of left and of right pixels lie


@dataclass(frozen=True)
class Disparity:
    """Dense answer for one rectified pair, in pixels of the left image as it was given."""

    disparity: np.ndarray  # (H, W) float32 px, 0 or more; left pixel x matches right x - disparity
    occlusion: np.ndarray  # (H, W) float32 in [0, 1], probability that the right image lacks it
    confidence: np.ndarray  # (H, W) float32 in [0, 1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        H, W = self.disparity.shape
        return H, W


def disparity_to_depth(
    disparity: np.ndarray, focal_px: float, baseline_m: float, doffs_px: float = 0.0
) -> np.ndarray:
    """Depth along the optical axis, (H, W) float32 in metres: focal * baseline / (disparity + doffs).

    Args:
        disparity: (H, W) px.
        focal_px: focal length of the rectified cameras.
        baseline_m: distance of the cameras.
        doffs_px: x of the right principal point less that of the left one, as in Middlebury's calib.txt.

    Returns:
        Infinite where there is no depth: disparity + doffs is not positive, or the disparity is unknown.
    """
    for name, value in (("focal_px", focal_px), ("baseline_m", baseline_m)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if not np.isfinite(doffs_px):
        raise ValueError(f"doffs_px must be finite, got {doffs_px}")
    shift = np.asarray(disparity, dtype=np.float64) + doffs_px
    near = np.isfinite(shift) & (shift > 0)
    depth = np.full(shift.shape, np.inf)
    np.divide(focal_px * baseline_m, shift, out=depth, where=near)
    with np.errstate(over="ignore"):
        return depth.astype(np.float32)


def left_right_consistency(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How far the disparities of both views differ at each left pixel, (H, W) float32 px.

    The right map is read at the pixel nearest to the match. Infinite where the match lies outside the
    right image, NaN where either disparity is unknown.

    Args:
        left: (H, W) disparity of the left view, px.
        right: (H, W) disparity of the right view, px: right pixel x matches left pixel x + right.
    """
    left, right = _both_maps(left, right)
    return np.asarray(_difference(left, right, LEFT))


def occlusion_from_disparities(
    left: np.ndarray, right: np.ndarray, tolerance_px: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Which left and which right pixels the other view does not show: two bool (H, W).

    A pixel is occluded when its match lies outside the other image, or when the disparity found there
    differs by more than the tolerance (`find_occ_mask` of STTR, Li et al. 2021). Unknown pixels, and those
    that match an unknown one inside the image, are not.

    Args:
        left: (H, W) disparity of the left view, px; not finite where unknown.
        right: (H, W) the same for the right view.
        tolerance_px: largest difference of two disparities of one point.
    """
    if not tolerance_px >= 0:
        raise ValueError(f"tolerance_px must be 0 or more, got {tolerance_px}")
    left, right = _both_maps(left, right)
    # A NaN is not larger than anything.
    return (
        np.asarray(_difference(left, right, LEFT) > tolerance_px),
        np.asarray(_difference(right, left, RIGHT) > tolerance_px),
    )


def border_occlusion(left: np.ndarray) -> np.ndarray:
    """Which left pixels match outside the right image, x - disparity < 0: bool (H, W).

    What can be said without a map of the right view. Unknown pixels are not.
    """
    return np.asarray(_outside(_one_map("left", left)))


@compiled()
def _difference(asked: np.ndarray, other: np.ndarray, way: int) -> np.ndarray:  # pragma: no cover
    """|asked - other at the match|; inf outside the other image, NaN where either is unknown."""
    H, W = asked.shape
    difference = np.full((H, W), np.float32(np.nan), np.float32)
    for y in range(H):
        for x in range(W):
            disp = asked[y, x]
            if not np.isfinite(disp):
                continue
            match = x + way * disp
            if match < 0 or match > W - 1:
                difference[y, x] = np.inf
                continue
            found = other[y, int(np.rint(match))]
            if np.isfinite(found):
                difference[y, x] = abs(found - disp)
    return difference


@compiled()
def _outside(left: np.ndarray) -> np.ndarray:  # pragma: no cover
    H, W = left.shape
    outside = np.zeros((H, W), np.bool_)
    for y in range(H):
        for x in range(W):
            outside[y, x] = np.isfinite(left[y, x]) and x - left[y, x] < 0
    return outside


def _both_maps(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, right = _one_map("left", left), _one_map("right", right)
    if left.shape != right.shape:
        raise ValueError(
            f"left and right must have the same size, got {left.shape} and {right.shape}; "
            "crop or resize one, and its disparities with it"
        )
    return left, right


def _one_map(name: str, disp: np.ndarray) -> np.ndarray:
    disp = np.ascontiguousarray(disp, dtype=np.float32)
    if disp.ndim != 2:
        raise ValueError(f"{name} must be a disparity map (H, W), got {disp.shape}")
    return disp
