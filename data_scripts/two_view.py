"""TwoView: two images of one scene with the exact motion of every pixel, and how to read it off.

Every generator and reader of `data_scripts` returns this; a task's `data.py` makes its labels of it.
Pixel centres are integers: the centre of the top-left pixel is (0, 0). Knows nothing of networks.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", Tensor, NDArray[Any])

# Four pixels are on one surface if the step between two of them is that to the next pixel outside,
# within this many pixels or this share of the step (perspective changes steps slowly). A larger
# change is a depth edge, and the mean across it would be a point on neither surface.
STEP_SLACK_PX = 1.5
STEP_SHARE = 0.3


@dataclass(frozen=True)
class TwoView:
    """Two images and where each pixel of one lies in the other; 0to1 lives on image 0's grid."""

    image0: Tensor  # (3, H0, W0) float32 RGB in [0, 1]
    image1: Tensor  # (3, H1, W1)
    warp_0to1: Tensor  # (H0, W0, 2) float32: x, y in pixels of image 1; 0 where unknown
    visible_0to1: Tensor  # (H0, W0) bool: inside image 1, not covered there, and surely so
    warp_1to0: Tensor  # (H1, W1, 2)
    visible_1to0: Tensor  # (H1, W1)
    depth0: Tensor | None = None  # (H0, W0) metres along the optical axis, 0 where unknown
    depth1: Tensor | None = None  # (H1, W1)
    K0: Tensor | None = None  # (3, 3) pixels
    K1: Tensor | None = None  # (3, 3)
    T_0to1: Tensor | None = None  # (4, 4): x1 = T_0to1 x0, metres

    @property
    def visible_share(self) -> tuple[float, float]:
        """Share of the pixels of image 0, and of image 1, that the other image shows too."""
        return self.visible_0to1.float().mean().item(), self.visible_1to0.float().mean().item()

    def swapped(self) -> "TwoView":
        """The same pair with the images in the other order."""
        back = None if self.T_0to1 is None else torch.linalg.inv(self.T_0to1)
        return TwoView(
            image0=self.image1,
            image1=self.image0,
            warp_0to1=self.warp_1to0,
            visible_0to1=self.visible_1to0,
            warp_1to0=self.warp_0to1,
            visible_1to0=self.visible_0to1,
            depth0=self.depth1,
            depth1=self.depth0,
            K0=self.K1,
            K1=self.K0,
            T_0to1=back,
        )


def sample_warp(warp: Array, visible: Array, points: Array) -> tuple[Array, Array]:
    """Where `points` (N, 2) lie in the other image, (N, 2), and whether that is known, (N,).

    warp (H, W, 2) and visible (H, W) are one direction of a TwoView, points are x, y in pixels.
    Bilinear where the four pixels around a point are visible and on one surface; else the nearest
    pixel, if visible; else not ok and 0. Tensors give tensors, arrays give arrays.
    """
    if isinstance(warp, np.ndarray):
        tensors = [torch.from_numpy(np.ascontiguousarray(part)) for part in (warp, visible, points)]
        there, ok = _sample_warp(*tensors)
        return there.numpy(), ok.numpy()
    return _sample_warp(warp, visible, points)


def _sample_warp(warp: Tensor, visible: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    H, W = visible.shape
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be (N, 2), x and y in pixels, got {tuple(points.shape)}")
    x, y = points.to(warp.dtype).unbind(-1)
    # NaN compares False, so a point that is not a number is outside
    inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
    x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
    left = x.long().clamp(max=max(W - 2, 0))
    top = y.long().clamp(max=max(H - 2, 0))
    patch, known = _patches(warp, visible, left, top)  # (N, 4, 4, 2), (N, 4, 4)
    corners = patch[:, 1:3, 1:3].flatten(1, 2)  # (N, 4, 2)
    seen = known[:, 1:3, 1:3].flatten(1)  # (N, 4)
    even = _steps_evenly(patch, known) & _steps_evenly(patch.transpose(1, 2), known.mT)
    smooth = inside & seen.all(-1) & even
    fx, fy = x - left, y - top
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    nearest = weights.argmax(-1, keepdim=True)
    ok = smooth | (inside & seen.gather(-1, nearest)[:, 0])
    at_nearest = corners.gather(1, nearest[..., None].expand(-1, -1, 2))[:, 0]
    there = torch.where(smooth[:, None], (weights[..., None] * corners).sum(1), at_nearest)
    return torch.where(ok[:, None], there, 0), ok


def _patches(warp: Tensor, visible: Tensor, left: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
    """The 4 x 4 pixels about the cells whose first corner is `left`, `top` (N,), row by row."""
    H, W = visible.shape
    around = torch.arange(-1, 3, device=warp.device)
    rows, columns = (top[:, None] + around)[:, :, None], (left[:, None] + around)[:, None]
    exists = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    rows, columns = rows.clamp(0, H - 1), columns.clamp(0, W - 1)
    return warp[rows, columns], visible[rows, columns] & exists


def _steps_evenly(patch: Tensor, known: Tensor) -> Tensor:
    """Whether both rows through the middle of patches (N, 4, 4, 2) go on as they began -> (N,)."""
    steps = patch[:, 1:3, 1:] - patch[:, 1:3, :-1]  # (N, 2, 3, 2)
    both = known[:, 1:3, 1:] & known[:, 1:3, :-1]
    middle, outer = steps[:, :, 1:2], steps[:, :, ::2]
    room = (STEP_SHARE * middle.norm(dim=-1)).clamp_min(STEP_SLACK_PX)  # (N, 2, 1)
    agrees = both[:, :, ::2] & ((outer - middle).norm(dim=-1) <= room)
    return torch.all(agrees.any(-1), -1)
