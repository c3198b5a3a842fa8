"""A stereo network without weights for tests of what stands round it: the shift whose pixels look most alike.

True for images shifted by whole pixels against each other, so tests know the answer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stereo.output import StereoOutput

WINDOW = 5  # px


class BlockMatcher(nn.Module):
    """Smallest mean difference over a window, of shifts 0 to `largest`; confident where it is small."""

    def __init__(self, largest: int = 24, size_multiple: int = 8) -> None:
        super().__init__()
        self.size_multiple = size_multiple
        self.largest = largest
        self.sizes: list[tuple[int, int]] = []  # of the images that it saw

    def forward(self, left: Tensor, right: Tensor) -> StereoOutput:
        B, C, H, W = left.shape
        assert C == 3
        assert left.shape == right.shape
        assert H % self.size_multiple == W % self.size_multiple == 0
        assert left.dtype == right.dtype == torch.float32
        for image in (left, right):
            assert ((image >= 0) & (image <= 1)).all()
        self.sizes.append((H, W))
        columns = torch.arange(W, device=left.device)
        costs = []
        for shift in range(self.largest + 1):
            seen = right[..., (columns - shift).clamp_min(0)]
            cost = (left - seen).abs().mean(1, keepdim=True)
            cost = F.avg_pool2d(cost, WINDOW, 1, WINDOW // 2, count_include_pad=False)
            costs.append(cost.squeeze(1) + (columns < shift))
        best = torch.stack(costs).min(0)
        outside = (columns - best.indices < 0).float().expand(B, H, W)
        return StereoOutput(best.indices.float(), outside, (1 - best.values).clamp(0, 1))
