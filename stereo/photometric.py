"""How unlike a pixel of the left image and one of the right are: the same sum in torch and for the CPU.

PatchMatch stereo (Bleyer, Rhemann and Rother, BMVC 2011, eq. 3): truncated differences of colour and of
gradient, of pixels (x, y) of the left and (x - disp, y) of the right image, interpolated along the row.
"""

import numpy as np
import torch
from numba import njit
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

    Beyond the left and right edges the nearest pixel stands in. On a CPU, in float32 and without
    gradients, one compiled loop takes a fifth of the time of torch's operators; tracing takes those.
    """
    if torch.compiler.is_compiling() or not all(map(_plain, (left, right, disp))):
        return sampled(left, right, disp)
    return _looped(left, right, disp)


def sampled(left: Tensor, right: Tensor, disp: Tensor) -> Tensor:
    """`difference` in torch's operators."""
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


def _plain(tensor: Tensor) -> bool:
    """Whether it is numbers in float32 in the memory of the CPU, of which nobody wants gradients."""
    real = type(tensor) is Tensor and tensor.device.type == "cpu"  # a subclass may hold no numbers
    wanted = torch.is_grad_enabled() and tensor.requires_grad
    return real and tensor.dtype is torch.float32 and not wanted


def _looped(left: Tensor, right: Tensor, disp: Tensor) -> Tensor:
    found = torch.empty_like(disp, memory_format=torch.contiguous_format)
    left_cells, right_cells, apart = (
        tensor.detach().contiguous().numpy() for tensor in (left, right, disp[:, 0])
    )
    _loop(left_cells, right_cells, apart, found.numpy()[:, 0])
    return found


@njit(cache=True, nogil=True)
def _loop(left: np.ndarray, right: np.ndarray, disp: np.ndarray, found: np.ndarray) -> None:
    B, _, H, W = left.shape
    for b in range(B):
        for y in range(H):
            for x in range(W):
                place = np.float32(x) - disp[b, y, x]
                if not place > 0:  # NaN too: it must not become an index
                    place = np.float32(0)
                near = min(int(min(place, np.float32(W - 1))), W - 1)
                far = min(near + 1, W - 1)
                share = min(place - np.float32(near), np.float32(1))
                colour = np.float32(0)
                gradient = np.float32(0)
                for channel in range(5):
                    there = right[b, channel, y, near]
                    there += share * (right[b, channel, y, far] - there)
                    apart = abs(left[b, channel, y, x] - there)
                    if channel < 3:
                        colour += apart
                    else:
                        gradient += apart
                colour = min(colour / np.float32(3), np.float32(COLOUR_LIMIT))
                gradient = min(gradient, np.float32(GRADIENT_LIMIT))
                found[b, y, x] = np.float32(COLOUR_WEIGHT) * colour + gradient
