"""The convolutional trunk of LoFTR: a residual network with a feature pyramid, ResNetFPN_8_2.

Maps an image to a coarse map at 1/8 and a fine map at 1/2. All strides are centred on a cell and
all upsampling aligns corners, so cell i of the 1/8 map sits on pixel 8 i. Parameters bear the
official names (zju3dv/LoFTR, src/loftr/backbone/resnet_fpn.py).
"""

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection (He et al. 2016, fig. 2).

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution; the skip connection is a convolution unless it is 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        skip = x if self.downsample is None else self.downsample(x)
        return F.relu(skip + y, inplace=True)


class ResNetFPN(nn.Module):
    """Three residual stages down to 1/8 and a feature pyramid back up to 1/2 (Lin et al. 2017).

    Args:
        widths: channels of the stages at 1/2, 1/4 and 1/8.
        blocks: residual blocks of the same stages; the first stage must have the width of the
            7x7 convolution before it, which is `widths[0]`.
        coarse_channels: channels of the 1/8 map that is returned.
        fine_channels: channels of the 1/2 map that is returned.
    """

    size_multiple = 8

    def __init__(
        self,
        widths: tuple[int, ...] = (128, 196, 256),
        blocks: tuple[int, ...] = (2, 2, 2),
        coarse_channels: int = 256,
        fine_channels: int = 128,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(blocks) != 3 or min(blocks) < 1:
            raise ValueError(
                "widths and blocks must have three entries (1/2, 1/4, 1/8), blocks at least 1 "
                f"each, got {widths} and {blocks}"
            )
        half, quarter, eighth = widths
        self.conv1 = nn.Conv2d(1, half, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.layer1 = _stage(half, half, 1, blocks[0])
        self.layer2 = _stage(half, quarter, 2, blocks[1])
        self.layer3 = _stage(quarter, eighth, 2, blocks[2])
        self.layer3_outconv = nn.Conv2d(eighth, coarse_channels, 1, bias=False)
        self.layer2_outconv = nn.Conv2d(quarter, coarse_channels, 1, bias=False)
        self.layer2_outconv2 = _smooth(coarse_channels, quarter)
        self.layer1_outconv = nn.Conv2d(half, quarter, 1, bias=False)
        self.layer1_outconv2 = _smooth(quarter, fine_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 1, H, W) -> coarse (B, C, H/8, W/8), fine (B, D, H/2, W/2).

        Sides that are not multiples of 8 give maps whose sides are rounded up.
        """
        half = self.layer1(F.relu(self.bn1(self.conv1(image)), inplace=True))
        quarter = self.layer2(half)
        coarse = self.layer3_outconv(self.layer3(quarter))
        quarter = self.layer2_outconv2(_add_up(self.layer2_outconv(quarter), coarse))
        fine = self.layer1_outconv2(_add_up(self.layer1_outconv(half), quarter))
        return coarse, fine


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    rest = (BasicBlock(outputs, outputs) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def _smooth(inputs: int, outputs: int) -> nn.Sequential:
    """What follows a sum of two pyramid levels."""
    return nn.Sequential(
        _conv3x3(inputs, inputs),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(inplace=True),
        _conv3x3(inputs, outputs),
    )


def _add_up(fine: Tensor, coarse: Tensor) -> Tensor:
    """`fine` (B, C, H, W) plus `coarse` (B, C, H/2, W/2) enlarged to it."""
    return fine + F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=True)
