"""Motion of pixels from depth and camera pose: the labels of posed RGB-D data and of scenes."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data_scripts.images import Array, Image, fit_long_side, resize_map, resized, to_tensor
from data_scripts.two_view import TwoView

# Depth sensors and multi-view stereo err by a few percent; a real depth edge is larger.
SENSOR_TOLERANCE = 0.05


@dataclass(frozen=True)
class PosedImage:
    """An image with its depth, intrinsics and place; the depth may be smaller than the image."""

    image: Image  # (H, W, 3)
    depth: NDArray[np.float32]  # (Hd, Wd) metres along the axis, 0 where unknown
    K: Array  # (3, 3) pixels of `image`
    T_world_to_cam: Array  # (4, 4)

    def resized(self, long_side: int | None) -> "PosedImage":
        """Image, depth and K at one size whose longer side is `long_side`; None: of the image."""
        size = self.image.shape[0], self.image.shape[1]
        new_size = fit_long_side(size, long_side)
        depth = cv2.resize(self.depth, new_size[::-1], interpolation=cv2.INTER_NEAREST)
        return PosedImage(
            image=resized(self.image, new_size),
            depth=np.asarray(depth, np.float32),
            K=resize_map(size, new_size) @ self.K,
            T_world_to_cam=self.T_world_to_cam,
        )


def posed_pair(
    first: PosedImage, second: PosedImage, tolerance: float = SENSOR_TOLERANCE
) -> TwoView:
    """The TwoView of two posed images.

    Args:
        first: with a depth of the size of its image, see `PosedImage.resized`.
        second: the same.
        tolerance: as in `warp_from_depth`.

    Raises:
        ValueError: a depth of another size than its image.
    """
    views = (first, second)
    for number, view in enumerate(views):
        if view.depth.shape != view.image.shape[:2]:
            raise ValueError(
                f"depth{number} must be of the size of its image {view.image.shape[:2]}, got "
                f"{view.depth.shape}; call PosedImage.resized first"
            )
    depth0, depth1 = (torch.from_numpy(view.depth) for view in views)
    K0, K1 = (torch.from_numpy(view.K) for view in views)
    T_0to1 = torch.from_numpy(second.T_world_to_cam @ np.linalg.inv(first.T_world_to_cam))
    T_1to0 = torch.linalg.inv(T_0to1)
    warp_0to1, visible_0to1 = warp_from_depth(depth0, K0, depth1, K1, T_0to1, tolerance)
    warp_1to0, visible_1to0 = warp_from_depth(depth1, K1, depth0, K0, T_1to0, tolerance)
    return TwoView(
        image0=to_tensor(first.image),
        image1=to_tensor(second.image),
        warp_0to1=warp_0to1,
        visible_0to1=visible_0to1,
        warp_1to0=warp_1to0,
        visible_1to0=visible_1to0,
        depth0=depth0,
        depth1=depth1,
        K0=K0.float(),
        K1=K1.float(),
        T_0to1=T_0to1.float(),
    )


def warp_from_depth(
    depth0: Tensor,
    K0: Tensor,
    depth1: Tensor,
    K1: Tensor,
    T_0to1: Tensor,
    tolerance: float = SENSOR_TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Where each pixel of image 0 lies in image 1, (H0, W0, 2) px, and whether it is seen there.

    Seen (H0, W0) means: inside image 1 and at the depth found there. The warp is 0 where it is not seen.

    Args:
        depth0: (H0, W0) metres along the axis, 0 or NaN where unknown.
        K0: (3, 3) intrinsics in pixels of depth0.
        depth1: (H1, W1), the same of image 1.
        K1: (3, 3) of depth1.
        T_0to1: (4, 4) with x1 = T_0to1 x0.
        tolerance: largest difference of the depths, as a share.
    """
    for name, depth in (("depth0", depth0), ("depth1", depth1)):
        if depth.ndim != 2:
            raise ValueError(f"{name} must be (H, W) metres, got {tuple(depth.shape)}")
    H0, W0 = depth0.shape
    x, y, depth = _project(depth0, K0, K1, T_0to1)
    H1, W1 = depth1.shape
    # NaN from unknown depths compares False
    inside = (depth > 0) & (x >= 0) & (x <= W1 - 1) & (y >= 0) & (y <= H1 - 1)
    x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
    there = sample_inverse_depth(depth1, x, y)
    seen = inside & (there > 0) & ((depth * there - 1).abs() < tolerance)
    warp = torch.stack([x, y], -1) * seen[..., None]
    return warp.reshape(H0, W0, 2), seen


def _project(
    depth0: Tensor, K0: Tensor, K1: Tensor, T_0to1: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel x, y in image 1 and depth there of every pixel of image 0; NaN where unknown."""
    H0, W0 = depth0.shape
    rotate = (K1.double() @ T_0to1[:3, :3].double() @ K0.double().inverse()).to(depth0)
    move = (K1.double() @ T_0to1[:3, 3].double()).to(depth0)
    column = torch.arange(W0, device=depth0.device, dtype=depth0.dtype)
    row = torch.arange(H0, device=depth0.device, dtype=depth0.dtype)[:, None]
    known = torch.where(depth0 > 0, depth0, torch.nan)
    ahead = [
        (r[0] * column + (r[1] * row + r[2])) * known + m for r, m in zip(rotate, move, strict=True)
    ]
    return ahead[0] / ahead[2], ahead[1] / ahead[2], ahead[2]


def sample_inverse_depth(depth: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """1 / depth (H, W) at pixels x, y (P, Q) inside it; 0 where no neighbour is known.

    Bilinear in 1 / depth, which is exact on planes, over those neighbours that are known.
    """
    H, W = depth.shape
    known = depth > 0
    inverse = torch.where(known, 1 / torch.where(known, depth, 1), 0)
    grid = torch.stack([x * (2 / max(W - 1, 1)) - 1, y * (2 / max(H - 1, 1)) - 1], -1)[None]
    if known.all():
        return F.grid_sample(inverse[None, None], grid, align_corners=True)[0, 0]
    maps = torch.stack([inverse, known.to(inverse)])[None]  # (1, 2, H, W)
    mean, weight = F.grid_sample(maps, grid, align_corners=True)[0]
    return torch.div(mean, weight.clamp_min(1e-6))
