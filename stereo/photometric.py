"""How unlike a pixel of the left image and one of the right are.

PatchMatch stereo (Bleyer, Rhemann and Rother, BMVC 2011, eq. 3): truncated differences of colour and of
gradient, of pixels (x, y) of the left and (x - disp, y) of the right image, interpolated along the row.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

COLOUR_LIMIT = 0.1  # differences in [0, 1] beyond these count no more: highlights, occlusions
GRADIENT_LIMIT = 8 / 255
COLOUR_WEIGHT = 0.3


def seen(image: Tensor) -> Tensor:
    """Colour and the gradients of grey (B, 5, H, W) of RGB (B, 3, H, W) in [0, 1]."""
    grey = F.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    smooth_rows = (grey[:, :, :-2] + 2 * grey[:, :, 1:-1] + grey[:, :, 2:]) / 8
    smooth_columns = (grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]) / 8
    across = smooth_rows[..., 2:] - smooth_rows[..., :-2]
    down = smooth_columns[:, :, 2:] - smooth_columns[:, :, :-2]
    return torch.cat([image, across, down], 1)


def difference(left: Tensor, right: Tensor, disp: Tensor) -> Tensor:
    """Differences (B, 1, H, W) of what is `seen` in both images (B, 5, H, W) at disparities (B, 1, H, W).

    Beyond the left and right edges the nearest pixel stands in.
    """
    B, _, H, W = left.shape
    column = torch.arange(W, device=disp.device, dtype=disp.dtype)
    x = (column - disp[:, 0]) * (2 / max(W - 1, 1)) - 1
    y = torch.linspace(-1, 1, H, device=disp.device, dtype=disp.dtype) if H > 1 else x.new_zeros(1)
    place = torch.stack([x, y[:, None].expand(B, H, W)], -1)
    there = F.grid_sample(right, place, padding_mode="border", align_corners=True)
    apart = (left - there).abs()
    colour = apart[:, :3].mean(1, keepdim=True).clamp(max=COLOUR_LIMIT)
    gradient = apart[:, 3:].sum(1, keepdim=True).clamp(max=GRADIENT_LIMIT)
    return COLOUR_WEIGHT * colour + gradient
