"""The last step of STTR's tokenizer, at full resolution, in strips of image rows.

Every pixel of both views has 128 channels there, 12 GB for a pair of 6 megapixels, of which the
transformer reads one pixel in nine; but BatchNorm needs the statistics of all. So the maps are made
strip by strip and thrown away: once for the statistics of the first norm, once more for those of
the second. Inference only. Everything here works on a strip: rows [start, stop) of the image.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops.relative_rows import row_chunks

MAPS = 4  # maps of all channels, and padded copies of them, that are alive at once


def whole_bytes(images: Tensor, channels: int) -> int:
    """Bytes of the maps that the step makes of images (2, 3, H, W) in one piece."""
    return MAPS * channels * images[:, 0].numel() * images.element_size()


class Moments:
    """Mean and variance of each channel, added up strip by strip in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, strip: Tensor) -> None:
        """Counts strip (2, C, h, W)."""
        count = strip[:, 0].numel()
        variance, mean = torch.var_mean(strip, (0, 2, 3), correction=0)
        mean, variance = mean.double(), variance.double()
        self.count += count
        self.sums = self.sums + count * mean
        self.squares = self.squares + count * (variance + mean.square())

    def affine(self, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        """Scale and shift (C, 1, 1) that are this norm on all that was counted."""
        mean = torch.as_tensor(self.sums) / self.count
        variance = torch.as_tensor(self.squares) / self.count - mean.square()
        scale = norm.weight.double() * (variance + norm.eps).rsqrt()
        shift = norm.bias.double() - mean * scale
        dtype = norm.weight.dtype
        return scale.to(dtype)[:, None, None], shift.to(dtype)[:, None, None]


class StripStep:
    """Up-sampling and double convolution of `stereo.sttr_trunk.Tokenizer`, in strips.

    Args:
        up: convolution, norm, convolution, both transposed.
        block: convolution, norm, ReLU, convolution, norm, ReLU.
        quarter: (2, C, h, w), input of `up`.
        images: (2, 3, H, W), that stand beside its output.
    """

    def __init__(
        self, up: nn.Sequential, block: nn.Sequential, quarter: Tensor, images: Tensor
    ) -> None:
        self.up = up
        self.convs = [part for part in block if isinstance(part, nn.Conv2d)]
        self.norms = [part for part in block if isinstance(part, nn.BatchNorm2d)]
        self.images = images
        self.half: Tensor = up[1](up[0](quarter))
        H, W = images.shape[-2:]
        self.top = (2 * self.half.shape[2] + 1 - H) // 2
        self.left = (2 * self.half.shape[3] + 1 - W) // 2

    def sampled(self, stride: int, max_memory: int) -> Tensor:
        """Every `stride`-th pixel of the result, from stride // 2 on: (2, C, Hs, Ws)."""
        H = self.images.shape[2]
        row_bytes = whole_bytes(self.images, self.half.shape[1]) // H
        strips = row_chunks(H, row_bytes, max_memory)
        first = Moments()
        for rows in strips:
            first.add(self._first(rows.start, rows.stop))
        affine = first.affine(self.norms[0])
        second = Moments()
        kept = list(self._second(strips, affine, second, stride))
        scale, shift = second.affine(self.norms[1])
        return (torch.cat(kept, 2) * scale + shift).relu_()

    def _second(
        self, strips: list[slice], affine: tuple[Tensor, Tensor], moments: Moments, stride: int
    ) -> Iterator[Tensor]:
        """The sampled pixels of each strip of the second convolution; all are counted."""
        scale, shift = affine
        H = self.images.shape[2]
        for rows in strips:
            start, stop = max(0, rows.start - 1), min(H, rows.stop + 1)
            strip = self._first(start, stop).mul_(scale).add_(shift).relu_()
            strip = _convolved(self.convs[1], strip, start == rows.start, stop == rows.stop)
            moments.add(strip)
            skip = (stride // 2 - rows.start) % stride
            yield strip[:, :, skip::stride, stride // 2 :: stride].clone()

    def _first(self, start: int, stop: int) -> Tensor:
        """Rows of the first convolution, before its norm: (2, C, stop - start, W)."""
        H = self.images.shape[2]
        low, high = max(0, start - 1), min(H, stop + 1)
        beside = self.images[:, :, low:high]
        strip = torch.cat([self._upsampled(low, high), beside], 1)
        return _convolved(self.convs[0], strip, low == start, high == stop)

    def _upsampled(self, start: int, stop: int) -> Tensor:
        """Rows of the up-sampled map, cropped to the image: (2, C, stop - start, W)."""
        start, stop = start + self.top, stop + self.top
        first = max(0, (start - 1) // 2)  # row i of the half map feeds rows 2 i to 2 i + 2
        last = (stop - 1) // 2
        strip = self.up[2](self.half[:, :, first : last + 1])
        W = self.images.shape[3]
        inside: Tensor = strip[:, :, start - 2 * first : stop - 2 * first]
        return inside[..., self.left : self.left + W]


def _convolved(conv: nn.Conv2d, strip: Tensor, at_top: bool, at_bottom: bool) -> Tensor:
    """3x3 convolution of a strip, whose missing neighbours are zeros only at the image's edges."""
    padded = F.pad(strip, (0, 0, int(at_top), int(at_bottom)))
    return F.conv2d(padded, conv.weight, None, padding=(0, 1))
