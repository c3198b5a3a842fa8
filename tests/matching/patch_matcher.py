"""A matcher without weights for tests of what stands round it: 8 x 8 patches that look the same match.

True for images that are shifted by multiples of 8 pixels against each other, so tests know the answer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matching.model import Features, MatchBatch

CELL = 8


class PatchMatcher(nn.Module):
    """Mutual nearest neighbours of normalised patches, of likeness above `threshold`."""

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.size_multiple = 2 * CELL  # more than a cell, so that masked cells occur
        self.threshold = threshold
        self.fine = None  # its points are exact, and nothing is to move them

    def extract(self, image: Tensor, mask: Tensor | None = None) -> Features:
        B, _, H, W = image.shape
        assert H % self.size_multiple == 0
        assert W % self.size_multiple == 0
        assert torch.isfinite(image).all()
        patches = F.pixel_unshuffle(image, CELL)  # (B, 64, H/8, W/8)
        patches = F.normalize(patches - patches.mean(1, keepdim=True), dim=1)
        cells = None
        if mask is not None:
            assert mask.shape == (B, H, W)
            cells = F.pixel_unshuffle(mask[:, None].float(), CELL).amin(1) > 0
        return Features(patches, patches, cells)

    def match_features(self, features0: Features, features1: Features) -> MatchBatch:
        with torch.autocast(features0.coarse.device.type, enabled=False):
            likeness = torch.einsum("bchw,bcyx->bhwyx", features0.coarse, features1.coarse)
        likeness = likeness.flatten(3).flatten(1, 2)  # (B, L, S)
        for dim, features in ((2, features0), (1, features1)):
            if features.mask is not None:
                likeness = likeness.masked_fill(~features.mask.flatten(1).unsqueeze(dim), -1.0)
        best1, best0 = likeness.argmax(2), likeness.argmax(1)
        mutual = best0.gather(1, best1) == torch.arange(likeness.shape[1])
        confidence = likeness.amax(2)
        pair, cell0 = torch.nonzero(mutual & (confidence > self.threshold), as_tuple=True)
        order = torch.argsort(pair * 2.0 - confidence[pair, cell0], stable=True)
        pair, cell0 = pair[order], cell0[order]
        cell1, confidence = best1[pair, cell0], confidence[pair, cell0]
        return MatchBatch(
            pair=pair,
            kpts0=_centres(cell0, features0),
            kpts1=_centres(cell1, features1),
            confidence=confidence,
            spread=1 - confidence,
            cell0=cell0,
            cell1=cell1,
        )


def _centres(cell: Tensor, features: Features) -> Tensor:
    width = features.coarse.shape[-1]
    return torch.stack([cell % width, cell // width], 1) * float(CELL) + (CELL - 1) / 2
