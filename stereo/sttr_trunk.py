"""STTR's convolutional part: pyramid of both views, and the tokens that its transformer starts from.

Backbone and tokenizer of Li et al. 2021, sec. 3.1, with the official names of weights. BatchNorm
takes the statistics of what it is given, in training and after, so both must see the two views of
one pair and nothing else.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stereo.sttr_strips import StripStep, whole_bytes

MIN_SIDE = 128  # px: the widest pooling takes 16 cells of 8 px
DENSE_LAYERS = 4  # of a dense block; also how much wider a layer is inside than what it adds


class BatchNorm(nn.BatchNorm2d):
    """Always normalises by what it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)


def conv_norm_relu(channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """3x3 convolution, BatchNorm, ReLU."""
    conv = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
    return [conv, BatchNorm(out_channels), nn.ReLU(inplace=True)]


class BasicBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), as in ResNet (He et al. 2016)."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, BatchNorm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, H, W) -> (B, out, H / stride, W / stride), rounded up."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Backbone(nn.Module):
    """Maps at 1/4, 1/8 and, from four poolings, 1/16."""

    def __init__(self) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(
            *conv_norm_relu(3, 16, stride=2), *conv_norm_relu(16, 16), *conv_norm_relu(16, 32)
        )
        self.resblock_1 = _stage(32, 64)
        self.resblock_2 = _stage(64, 128)
        self.branch1 = _branch(16)
        self.branch2 = _branch(8)
        self.branch3 = _branch(4)
        self.branch4 = _branch(2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (2, 3, H, W) -> (2, 64, H/4, W/4), (2, 128, H/8, W/8), (2, 128, H/16, W/16)."""
        quarter = self.resblock_1(self.in_conv(images))
        eighth = self.resblock_2(quarter)
        H, W = images.shape[-2:]
        size = ((H + 15) // 16, (W + 15) // 16)
        pooled = [
            F.interpolate(branch(eighth), size, mode="bilinear", align_corners=False)
            for branch in (self.branch1, self.branch2, self.branch3, self.branch4)
        ]
        return quarter, eighth, torch.cat(pooled, 1)


class DenseLayer(nn.Module):
    """A few more channels from all so far: conv3x3(relu(norm(conv1x1(relu(norm(x))))))."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        inner = DENSE_LAYERS * growth
        self.norm1 = BatchNorm(channels)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm2 = BatchNorm(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, H, W) -> (B, growth, H, W)."""
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        new: Tensor = self.conv2(F.relu(self.norm2(y), inplace=True))
        return new


class DenseBlock(nn.Module):
    """Layers that each read the input and all layers before (Huang et al. 2017), cut to the newest.

    Args:
        channels: of the input.
        growth: channels that each of the four layers adds.
        keep: channels of the result, the last ones.
    """

    def __init__(self, channels: int, growth: int, keep: int) -> None:
        super().__init__()
        self.keep = keep
        self.layers = nn.ModuleList(
            DenseLayer(channels + i * growth, growth) for i in range(DENSE_LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, H, W) -> (B, keep, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x[:, -self.keep :]


class Tokenizer(nn.Module):
    """The map at 1/16, brought up step by step with the finer maps beside it.

    Args:
        growth: channels that a dense layer adds: 4 in STTR, 16 in STTR-light.
        channels: C of the tokens.
        full: tokens for every pixel (STTR); False: at a quarter (STTR-light).
    """

    def __init__(self, growth: int, channels: int, full: bool) -> None:
        super().__init__()
        self.channels = channels
        self.full = full
        width = DENSE_LAYERS * growth
        self.bottle_neck = DenseBlock(128, growth, width)
        self.up = nn.ModuleList([_double(width, width), _double(width, width)])
        self.dense_block = nn.ModuleList(
            [
                DenseBlock(width + 128, growth, width),
                DenseBlock(width + 64, growth, width if full else channels),
            ]
        )
        if full:
            self.up.append(
                nn.Sequential(
                    nn.ConvTranspose2d(width, channels, 3, 2, bias=False),
                    BatchNorm(channels),
                    _double(channels, channels),
                )
            )
            self.dense_block.append(
                nn.Sequential(
                    *conv_norm_relu(channels + 3, channels), *conv_norm_relu(channels, channels)
                )
            )

    def forward(
        self, images: Tensor, maps: Sequence[Tensor], stride: int, max_memory: int
    ) -> Tensor:
        """Tokens (2, C, Hs, Ws): every `stride`-th pixel, or where not full all at a quarter.

        Args:
            images: (2, 3, H, W).
            maps: of these, at 1/4, 1/8 and 1/16.
            stride: of full tokens, which begin at pixel stride // 2.
            max_memory: bytes; where full tokens would take more, and no gradients are wanted, they
                are made in strips of rows.
        """
        quarter, eighth, sixteenth = maps
        x = self.bottle_neck(sixteenth)
        for up, block, finer in zip(
            self.up[:2], self.dense_block[:2], (eighth, quarter), strict=True
        ):
            x = block(torch.cat([_centre(up(x), finer), finer], 1))
        if not self.full:
            return x
        up, block = self.up[2], self.dense_block[2]
        assert isinstance(up, nn.Sequential)
        assert isinstance(block, nn.Sequential)
        if not torch.is_grad_enabled() and whole_bytes(images, self.channels) > max_memory:
            return StripStep(up, block, x, images).sampled(stride, max_memory)
        x = block(torch.cat([_centre(up(x), images), images], 1))
        return x[..., stride // 2 :: stride, stride // 2 :: stride]


def _stage(channels: int, out_channels: int) -> nn.Sequential:
    """Three residual blocks at half the size."""
    return nn.Sequential(
        BasicBlock(channels, out_channels, stride=2),
        BasicBlock(out_channels, out_channels),
        BasicBlock(out_channels, out_channels),
    )


def _branch(pool: int) -> nn.Sequential:
    """Means of pool x pool cells of the map at 1/8, as 32 channels."""
    conv = nn.Conv2d(128, 32, 1, bias=False)
    return nn.Sequential(nn.AvgPool2d(pool), conv, BatchNorm(32), nn.ReLU(inplace=True))


def _double(channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """(B, C, H, W) -> (B, out, 2 H + 1, 2 W + 1)."""
    return nn.ConvTranspose2d(channels, out_channels, 3, 2)


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The middle of x (B, C, H, W), as large as `like`."""
    (h, w), (H, W) = x.shape[-2:], like.shape[-2:]
    top, left = (h - H) // 2, (w - W) // 2
    return x[..., top : top + H, left : left + W]
