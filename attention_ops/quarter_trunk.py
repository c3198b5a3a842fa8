"""A light convolutional trunk whose map is at 1/4 of the image, for dense tasks on CPUs.

The stages are those of `slim_trunk`, so that its weights can start this one; the centre of cell i lies
over pixel 4 i + 1.5.
"""

from torch import Tensor, nn

from attention_ops.slim_trunk import add_up, conv_norm_relu, slim_stages


class QuarterTrunk(nn.Module):
    """Four stages down to 1/16 and a feature pyramid (Lin et al. 2017) back up to 1/4.

    Args:
        widths: channels of the stages at 1/2, 1/4, 1/8 and 1/16.
        blocks: residual blocks of the same stages.
        channels: C of the map that is returned.
    """

    size_multiple = 16

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        blocks: tuple[int, ...] = (0, 1, 1, 1),
        channels: int = 64,
    ) -> None:
        super().__init__()
        self.stages = slim_stages(widths, blocks)
        self.sides = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths[1:])
        self.join8 = conv_norm_relu(channels, channels)
        self.join4 = conv_norm_relu(channels, channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Grey image (B, 1, H, W) -> (B, C, H/4, W/4)."""
        levels, x = [], self.stages[0](image)
        for stage, side in zip(self.stages[1:], self.sides, strict=True):
            x = stage(x)
            levels.append(side(x))
        quarter, eighth, sixteenth = levels
        eighth = self.join8(add_up(eighth, sixteenth))
        out: Tensor = self.out(self.join4(add_up(quarter, eighth)))
        return out
