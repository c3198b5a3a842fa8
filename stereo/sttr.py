"""STTR and STTR-light, as their released weights need them (Li et al., ICCV 2021).

Tokens of both views, attention along the rows, optimal transport, regression, context. Plain tensors
in, `StereoOutput` out. `stereo.official` fills the weights. Nothing but the images comes in: the
official evaluation passes the true occlusion too.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops.relative_rows import MAX_MEMORY, RelativeRowAttention, distance_sines
from stereo.context import ContextAdjustment
from stereo.output import StereoOutput
from stereo.regression import RowDisparity, regress_rows
from stereo.sttr_rows import RowTransformer
from stereo.sttr_trunk import MIN_SIDE, Backbone, Tokenizer
from stereo.transport import sinkhorn

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB
IMAGE_DEVIATION = (0.229, 0.224, 0.225)
CHANNELS = 128
LIGHT_STRIDE = 4  # px between tokens of STTR-light


class SttrNetwork(nn.Module):
    """STTR, or STTR-light; the confidence is the assignment within the window of the best match.

    BatchNorm takes its statistics from both views of one pair, as in the official networks, in
    training and after: pairs of a batch are therefore taken one by one, and give what they give
    alone.

    Args:
        light: STTR-light: tokens at a quarter of the resolution, 4 heads, wider tokenizer. Its
            weights do not fit the other.
        stride: px between tokens, in STTR, whose feature map has full resolution: any value works,
            3 is what the weights were trained with.
        layers: of self- and of cross-attention.
        max_memory: bytes that maps of full resolution may take before they are made in strips;
            chunks of rows in the transformer take that or 128 MB, whichever is less.
    """

    size_multiple = 1
    min_side = MIN_SIDE

    def __init__(
        self,
        *,
        light: bool = False,
        stride: int = 3,
        layers: int = 6,
        max_memory: int = 2**32,
    ) -> None:
        super().__init__()
        if stride < 1 or layers < 1:
            raise ValueError(f"stride and layers must be 1 or more, got {stride} and {layers}")
        self.light = light
        self.stride = LIGHT_STRIDE if light else stride
        self.max_memory = max_memory
        heads = 4 if light else 8

        def attention() -> RelativeRowAttention:
            return RelativeRowAttention(CHANNELS, heads, min(max_memory, MAX_MEMORY))

        self.backbone = Backbone()
        self.tokenizer = Tokenizer(growth=16 if light else 4, channels=CHANNELS, full=not light)
        self.transformer = RowTransformer(CHANNELS, attention, layers, attention())
        self.dustbin = nn.Parameter(torch.tensor(0.0))
        self.context = ContextAdjustment()

    def forward(self, left: Tensor, right: Tensor) -> StereoOutput:
        """Disparity of a batch of rectified pairs.

        Args:
            left: (B, 3, H, W) RGB in [0, 1], sides of 128 px at least.
            right: (B, 3, H, W).

        Raises:
            ValueError: the images have another shape, or there are none.
        """
        self._check(left, right)
        pairs = [self._pair(torch.stack(pair)) for pair in zip(left, right, strict=True)]
        return StereoOutput(*(torch.cat(maps) for maps in zip(*pairs, strict=True)))

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens (2, Hs, Ws, C) of both views of a pair (2, 3, H, W), normalised."""
        maps = self.tokenizer(images, self.backbone(images), self.stride, self.max_memory)
        return maps.permute(0, 2, 3, 1).contiguous()

    def match(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, sources (Hs, Ws, C) and table of distances, for `transformer.logits`.

        Args:
            images: (2, 3, H, W), left and right, normalised.
        """
        left, right = self.tokens(images)
        W, C = left.shape[1:]
        spacing = 1.0 if self.light else self._scale(images.shape[-1], W)
        table = distance_sines(W, W, C, spacing, left.device, left.dtype)
        return *self.transformer(left, right, table), table

    def regress(self, query: Tensor, source: Tensor, table: Tensor) -> RowDisparity:
        """Disparity (Hs, Ws), in tokens, of what `match` gave, a chunk of rows at a time."""
        parts = [
            regress_rows(
                sinkhorn(self.transformer.logits(query[rows], source[rows], table), self.dustbin),
                weak_mass_is_one=True,
            )
            for rows in self.transformer.chunks(query, source)
        ]
        return RowDisparity(
            torch.cat([part.disparity for part in parts]),
            torch.cat([part.occlusion for part in parts]),
            torch.cat([part.mass for part in parts]),
        )

    def _pair(self, pair: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Disparity, occlusion, confidence (1, H, W) of one pair (2, 3, H, W) in [0, 1]."""
        images = normalised(pair)
        rows = self.regress(*self.match(images))
        H, W = images.shape[-2:]
        scale = self._scale(W, rows.disparity.shape[1])
        disparity, occlusion, mass = (
            F.interpolate(cells[None, None], (H, W))[:, 0]
            for cells in (rows.disparity * scale, rows.occlusion, rows.mass)
        )
        return *self.context(disparity, occlusion, images[:1]), mass.clamp(0, 1)

    def _scale(self, width: int, tokens: int) -> float:
        """Pixels of a row of `width` to each of its tokens, as the official code counts them."""
        return float(LIGHT_STRIDE) if self.light else width / tokens

    def _check(self, left: Tensor, right: Tensor) -> None:
        if left.shape != right.shape or left.dim() != 4 or left.shape[1] != 3 or not len(left):
            raise ValueError(
                f"left and right must be (B, 3, H, W) of one size, B 1 or more, got "
                f"{tuple(left.shape)} and {tuple(right.shape)}"
            )
        if min(left.shape[-2:]) < MIN_SIDE:
            raise ValueError(
                f"left and right must have sides of {MIN_SIDE} px or more, got "
                f"{left.shape[-2]} x {left.shape[-1]}; pad them"
            )


def normalised(images: Tensor) -> Tensor:
    """RGB images (B, 3, H, W) in [0, 1], with ImageNet's mean and deviation taken out."""
    mean = torch.stack([images.new_full((1, 1), level) for level in IMAGE_MEAN])
    deviation = torch.stack([images.new_full((1, 1), width) for width in IMAGE_DEVIATION])
    return (images - mean) / deviation
