"""A light convolutional trunk for CPUs: coarse map at 1/8, fine map at 1/2.

All strides use 4x4 kernels with padding 1 and all upsampling is bilinear without aligned corners, so
every cell sits exactly over the middle of the pixels it covers: cell i of the 1/8 map is centred on
pixel 8 i + 3.5, and turning the image by 90 degrees turns the grid onto itself.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection (He et al. 2016, fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm_relu(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(x + self.second(self.first(x)), inplace=True)


def slim_stages(widths: tuple[int, ...], blocks: tuple[int, ...]) -> nn.ModuleList:
    """The stages of a slim trunk for a grey image: to 1/2, 1/4, ... with `widths` channels."""
    half = nn.Sequential(
        conv_norm_relu(1, widths[0] // 2, 4, 2), conv_norm_relu(widths[0] // 2, widths[0])
    )
    stages = nn.ModuleList()
    for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        down = conv_norm_relu(widths[level - 1], width, 4, 2) if level else half
        stages.append(nn.Sequential(down, *(ResidualBlock(width) for _ in range(count))))
    return stages


class SlimTrunk(nn.Module):
    """Four stages down to 1/16 and a feature pyramid back up (Lin et al. 2017).

    Args:
        widths: channels of the stages at 1/2, 1/4, 1/8 and 1/16.
        blocks: residual blocks of the same stages.
        coarse_channels: channels of the 1/8 map that is returned.
        fine_channels: channels of the 1/2 map that is returned.
    """

    size_multiple = 16

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        blocks: tuple[int, ...] = (0, 1, 1, 1),
        coarse_channels: int = 128,
        fine_channels: int = 32,
    ) -> None:
        super().__init__()
        self.stages = slim_stages(widths, blocks)
        self.sides = nn.ModuleList(
            nn.Conv2d(width, channels, 1)
            for width, channels in zip(
                widths,
                (fine_channels, fine_channels, coarse_channels, coarse_channels),
                strict=True,
            )
        )
        self.join8 = conv_norm_relu(coarse_channels, coarse_channels)
        self.coarse = nn.Conv2d(coarse_channels, coarse_channels, 1)
        self.narrow = nn.Conv2d(coarse_channels, fine_channels, 1)
        self.join4 = conv_norm_relu(fine_channels, fine_channels)
        self.join2 = conv_norm_relu(fine_channels, fine_channels)
        self.fine = nn.Conv2d(fine_channels, fine_channels, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 1, H, W) -> coarse (B, C, H/8, W/8), fine (B, D, H/2, W/2)."""
        half, quarter, eighth, sixteenth = self._stages(image)
        eighth = self.join8(add_up(eighth, sixteenth))
        quarter = self.join4(add_up(quarter, self.narrow(eighth)))
        half = self.join2(add_up(half, quarter))
        return self.coarse(eighth), self.fine(half)

    def _stages(self, image: Tensor) -> list[Tensor]:
        """The four pyramid levels after their 1x1 side convolutions, finest first."""
        levels, x = [], image
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            levels.append(side(x))
        return levels


def add_up(fine: Tensor, coarse: Tensor) -> Tensor:
    """`fine` (B, C, H, W) plus `coarse` (B, C, H/2, W/2) enlarged to it."""
    return fine + F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
