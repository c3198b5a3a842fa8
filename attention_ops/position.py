"""Position encodings that are added to a map."""

import math

import torch
from torch import Tensor


def sine_encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    corrected: bool = True,
    origin: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Sines and cosines of x and y at `channels / 4` frequencies (LoFTR, Sun et al. 2021).

    Channel 4k is sin(x f_k), 4k + 1 cos(x f_k), 4k + 2 sin(y f_k), 4k + 3 cos(y f_k) with
    f_k = 10000 ** (-4 k / channels).

    Args:
        height: H in cells.
        width: W in cells.
        channels: C, a multiple of 4.
        device: where the result lives.
        dtype: of the result; computed in float32 at least.
        corrected: False gives f_k = exp(-2 k), the table that LoFTR's first released weights
            were trained with (a precedence slip: -ln(10000) / C // 2 is -1 for every C > 4).
        origin: x, y of the first cell.

    Returns:
        (C, H, W).

    Raises:
        ValueError: `channels` is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")
    wide = torch.promote_types(dtype, torch.float32)
    exponent = 2 * torch.arange(channels // 4, device=device, dtype=wide)
    rate = -math.log(10000.0) / (channels / 2) if corrected else -1.0
    frequency = torch.exp(exponent * rate)[:, None]  # (C / 4, 1)
    x = frequency * (torch.arange(width, device=device, dtype=wide) + origin[0])
    y = frequency * (torch.arange(height, device=device, dtype=wide) + origin[1])
    full = (channels // 4, height, width)
    by_axis = (
        x.sin()[:, None, :].expand(full),
        x.cos()[:, None, :].expand(full),
        y.sin()[:, :, None].expand(full),
        y.cos()[:, :, None].expand(full),
    )
    return torch.stack(by_axis, 1).flatten(0, 1).to(dtype)
