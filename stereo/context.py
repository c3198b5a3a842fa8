"""STTR's context adjustment: disparity and occlusion at full resolution, corrected by the image.

Li et al. 2021, sec. 3.4. Names of weights are the official ones.
"""

import torch
from torch import Tensor, nn

DEVIATION_FLOOR = 1e-6  # a flat disparity map would divide by zero
VARIANCE_FLOOR = 1e-30  # and the gradient of its deviation be NaN


class WeightNormConv(nn.Module):
    """3x3 convolution whose filters are given as length and direction (Salimans and Kingma 2016)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        plain = nn.Conv2d(channels, out_channels, 3)
        self.bias = plain.bias
        self.weight_g = nn.Parameter(_lengths(plain.weight.detach()))  # (out, 1, 1, 1)
        self.weight_v = plain.weight  # (out, in, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Filters x (B, in, H, W) -> (B, out, H, W)."""
        weight = self.weight_g * self.weight_v / _lengths(self.weight_v)
        return nn.functional.conv2d(x, weight, self.bias, padding=1)


class ContextBlock(nn.Module):
    """x + conv(relu(conv([disparity, x]))), wide in between."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.module = nn.Sequential(
            WeightNormConv(1 + channels, wide),
            nn.ReLU(inplace=True),
            WeightNormConv(wide, channels),
        )

    def forward(self, x: Tensor, disparity: Tensor) -> Tensor:
        """Updates x (B, C, H, W) with the normalised disparity (B, 1, H, W) in sight."""
        updated: Tensor = x + self.module(torch.cat([disparity, x], 1))
        return updated


class ContextAdjustment(nn.Module):
    """Corrects both maps by convolutions over them and the left image.

    Args:
        channels: C of the disparity branch and of the occlusion head.
        blocks: residual blocks of the disparity branch.
        expansion: how many times wider they are inside.
    """

    def __init__(self, channels: int = 16, blocks: int = 8, expansion: int = 4) -> None:
        super().__init__()
        self.in_conv = nn.Conv2d(4, channels, 3, padding=1)
        self.layers = nn.ModuleList(ContextBlock(channels, expansion) for _ in range(blocks))
        self.out_conv = nn.Conv2d(channels, 1, 3, padding=1)
        self.occ_head = nn.Sequential(
            WeightNormConv(4, channels),
            WeightNormConv(channels, channels),
            nn.ReLU(inplace=True),
            WeightNormConv(channels, channels),
            WeightNormConv(channels, channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, disparity: Tensor, occlusion: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Corrected disparity (B, H, W) in px and occlusion probability (B, H, W).

        Args:
            disparity: (B, H, W) px of the left image.
            occlusion: (B, H, W) in [0, 1].
            image: (B, 3, H, W), the left image as the network normalises it.
        """
        mean = disparity.mean((1, 2), keepdim=True)
        variance = disparity.var((1, 2), keepdim=True)
        deviation = (variance + VARIANCE_FLOOR).sqrt() + DEVIATION_FLOOR
        normed = ((disparity - mean) / deviation)[:, None]
        adjusted = self._adjust(normed, image)[:, 0] * deviation + mean
        occlusion = torch.cat([occlusion[:, None] * 2 - 1, image], 1)
        return adjusted, self.occ_head(occlusion)[:, 0].sigmoid()

    def _adjust(self, normed: Tensor, image: Tensor) -> Tensor:
        """Normalised disparity (B, 1, H, W), corrected."""
        x = self.in_conv(torch.cat([normed, image], 1))
        for layer in self.layers:
            x = layer(x, normed)
        corrected: Tensor = normed + self.out_conv(x)
        return corrected


def _lengths(filters: Tensor) -> Tensor:
    """Euclidean length of each filter (out, in, 3, 3) -> (out, 1, 1, 1)."""
    return filters.flatten(1).norm(dim=1)[:, None, None, None]
