"""The matcher: trunk, position encoding, two-view transformer, coarse matching, fine refinement.

Plain tensors in, one frozen dataclass out. Image files, resizing and original pixels are the business
of `matching.predictor`. The pipeline is LoFTR's (Sun et al., CVPR 2021); the `quadtree` presets put
QuadTree attention (Tang et al., ICLR 2022) into its coarse transformer.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops import build_attention
from attention_ops.position import sine_encoding
from attention_ops.slim_trunk import SlimTrunk
from attention_ops.trunk import ResNetFPN
from attention_ops.two_view import LoftrLayer, QuadtreeBlock, TwoViewTransformer
from matching.coarse import CoarseMatches, border_allowed, match_streaming
from matching.config import CoarseConfig, Kind, MatcherConfig
from matching.fine import LoftrFine
from matching.refine import PatchRefiner
from matching.sinkhorn import match_sinkhorn

STRIDE = 8  # pixels of a coarse cell
FINE_STRIDE = 2  # pixels of a fine cell
DEVIATION_FLOOR = 1e-3  # an image of one colour would divide by zero


@dataclass(frozen=True)
class Features:
    """What one image (or a batch of equal size) contributes to a match."""

    coarse: Tensor  # (B, C, H/8, W/8) before the two-view transformer, position encoding added
    fine: Tensor  # (B, D, H/2, W/2)
    mask: Tensor | None  # (B, H/8, W/8) bool, True = real


@dataclass(frozen=True)
class MatchBatch:
    """Matches of a batch of pairs; sorted by pair, then best first."""

    pair: Tensor  # (N,) int64 number of the pair in the batch
    kpts0: Tensor  # (N, 2) x, y in pixels of the network's image 0
    kpts1: Tensor  # (N, 2) the same for image 1
    confidence: Tensor  # (N,) in [0, 1]
    spread: Tensor  # (N,) expected error in pixels
    cell0: Tensor  # (N,) int64 coarse cell of image 0, row-major
    cell1: Tensor  # (N,) int64


class Matcher(nn.Module):
    """Finds matches between two grey images; see `build_matcher` for the settings.

    Args:
        trunk: image (B, 1, H, W) -> coarse (B, C, H/8, W/8), fine (B, D, H/2, W/2).
        transformer: updates both coarse maps.
        fine: has `offsets(fine, tokens, pair, corners)`, as `LoftrFine` and `PatchRefiner`.
        size_multiple: sides of the images must be multiples of this.
        standardise: subtract the mean and divide by the deviation of each image first.
        corrected_encoding: sine position encoding, see `attention_ops.position`.
        similarity: "scaled" or "cosine"; see `MatcherConfig`, as the next arguments.
    """

    def __init__(  # noqa: PLR0913 - the builder is the only caller
        self,
        *,
        trunk: nn.Module,
        transformer: TwoViewTransformer,
        fine: LoftrFine | PatchRefiner,
        size_multiple: int,
        standardise: bool,
        corrected_encoding: bool,
        similarity: str,
        temperature: float,
        matching: str,
        threshold: float,
        border: int,
        half_pixel_cells: bool,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.transformer = transformer
        self.fine = fine
        self.size_multiple = size_multiple
        self.standardise = standardise
        self.corrected_encoding = corrected_encoding
        self.temperature = temperature
        self.threshold = threshold
        self.border = border
        self.cell_centre = (STRIDE - 1) / 2 if half_pixel_cells else 0.0
        self.log_scale = (
            nn.Parameter(torch.tensor(1 / temperature).log()) if similarity == "cosine" else None
        )
        self.dustbin = nn.Parameter(torch.tensor(1.0)) if matching == "sinkhorn" else None

    def forward(
        self,
        image0: Tensor,
        image1: Tensor,
        mask0: Tensor | None = None,
        mask1: Tensor | None = None,
    ) -> MatchBatch:
        """Matches a batch of pairs.

        Args:
            image0: (B, 1, H0, W0) grey in [0, 1], sides multiples of `size_multiple`.
            image1: (B, 1, H1, W1).
            mask0: (B, H0, W0) bool, True = real pixel.
            mask1: (B, H1, W1).
        """
        if image0.shape == image1.shape and (mask0 is None) == (mask1 is None):
            both = self.extract(
                torch.cat([image0, image1]),
                None if mask0 is None or mask1 is None else torch.cat([mask0, mask1]),
            )
            features0, features1 = _halves(both)
        else:
            features0, features1 = self.extract(image0, mask0), self.extract(image1, mask1)
        return self.match_features(features0, features1)

    def extract(
        self, image: Tensor, mask: Tensor | None = None, origin: tuple[float, float] = (1.0, 1.0)
    ) -> Features:
        """Features of image (B, 1, H, W); `origin` shifts the position encoding (training only).

        Raises:
            ValueError: the image has another shape or sides that are not multiples of
                `size_multiple`.
        """
        self._check(image, mask)
        if self.standardise:
            image = standardised(image, mask)
        elif mask is not None:
            image = image.masked_fill(~mask[:, None], 0.0)
        coarse, fine = self.trunk(image.contiguous(memory_format=torch.channels_last))
        _, C, H, W = coarse.shape
        encoding = sine_encoding(
            H, W, C, coarse.device, coarse.dtype, corrected=self.corrected_encoding, origin=origin
        )
        middle = STRIDE // 2 if self.cell_centre else 0
        cells = None if mask is None else mask[:, middle::STRIDE, middle::STRIDE]
        return Features(coarse + encoding, fine, cells)

    def _check(self, image: Tensor, mask: Tensor | None) -> None:
        multiple = self.size_multiple
        if image.dim() != 4 or image.shape[1] != 1:
            raise ValueError(f"image must be (B, 1, H, W) grey, got {tuple(image.shape)}")
        H, W = image.shape[-2:]
        if H % multiple or W % multiple or not H * W:
            raise ValueError(
                f"image must have sides that are multiples of {multiple}, got {H} x {W}; "
                "pad it and pass a mask, or use matching.load_predictor"
            )
        if mask is not None and (mask.shape != image[:, 0].shape or mask.dtype != torch.bool):
            raise ValueError(
                f"mask must be bool {tuple(image[:, 0].shape)}, got {mask.dtype} {tuple(mask.shape)}"
            )

    def coarse_tokens(self, features0: Features, features1: Features) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, C) and (B, S, C) of both images after the two-view transformer."""
        maps = self.transformer(features0.coarse, features1.coarse, features0.mask, features1.mask)
        return maps[0].flatten(2).mT, maps[1].flatten(2).mT

    def scaled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and the scale that turn an inner product into a similarity, in float32 or above."""
        tokens = _wide(tokens)
        if self.log_scale is not None:
            return F.normalize(tokens, dim=-1), self.log_scale.exp()
        temperature = 1.0 if self.dustbin is not None else self.temperature
        return tokens, tokens.new_full((), 1 / (tokens.shape[-1] * temperature))

    def match_features(self, features0: Features, features1: Features) -> MatchBatch:
        """Matches between extracted features; the (L, S) score matrix is never built."""
        tokens0, tokens1 = self.coarse_tokens(features0, features1)
        matches = self._match_coarse(tokens0, tokens1, features0, features1)
        sizes = features0.coarse.shape[-2:], features1.coarse.shape[-2:]
        grid0 = _cell_xy(matches.cell0, sizes[0][1])
        grid1 = _cell_xy(matches.cell1, sizes[1][1])
        matched = tokens0[matches.pair, matches.cell0], tokens1[matches.pair, matches.cell1]
        # in bfloat16 this stage alone would move points by a pixel; without it, by a hundredth
        with torch.autocast(tokens0.device.type, enabled=False):
            offset, spread = self.fine.offsets(
                (_wide(features0.fine), _wide(features1.fine)),
                (_wide(matched[0]), _wide(matched[1])),
                matches.pair,
                (grid0 * (STRIDE // FINE_STRIDE), grid1 * (STRIDE // FINE_STRIDE)),
            )
        return MatchBatch(
            pair=matches.pair,
            kpts0=grid0.to(offset.dtype) * STRIDE + self.cell_centre,
            kpts1=grid1.to(offset.dtype) * STRIDE + self.cell_centre + offset,
            confidence=matches.confidence,
            spread=spread,
            cell0=matches.cell0,
            cell1=matches.cell1,
        )

    def _match_coarse(
        self, tokens0: Tensor, tokens1: Tensor, features0: Features, features1: Features
    ) -> CoarseMatches:
        mask0, mask1 = _flat_mask(features0), _flat_mask(features1)
        allowed0, allowed1 = (
            border_allowed(_mask_of(f), self.border) for f in (features0, features1)
        )
        tokens0, scale = self.scaled(tokens0)
        tokens1, _ = self.scaled(tokens1)
        if self.dustbin is None:
            return match_streaming(
                tokens0, tokens1, scale, mask0, mask1, allowed0, allowed1, self.threshold
            )
        return match_sinkhorn(
            tokens0, tokens1, scale, self.dustbin, mask0, mask1, allowed0, allowed1, self.threshold
        )


def standardised(image: Tensor, mask: Tensor | None) -> Tensor:
    """Image (B, 1, H, W) with mean 0 and deviation 1 over its real pixels, 0 elsewhere."""
    real = torch.ones_like(image, dtype=torch.bool) if mask is None else mask[:, None]
    image = image.masked_fill(~real, 0.0)
    count = real.sum((1, 2, 3), keepdim=True).clamp_min(1)
    mean = image.sum((1, 2, 3), keepdim=True) / count
    centred = (image - mean).masked_fill(~real, 0.0)
    deviation = (centred.square().sum((1, 2, 3), keepdim=True) / count).sqrt()
    return centred / (deviation + DEVIATION_FLOOR)


def _halves(features: Features) -> tuple[Features, Features]:
    """Features of a batch of twice B, as those of its first and second half."""
    coarse, fine = features.coarse.chunk(2), features.fine.chunk(2)
    mask = (None, None) if features.mask is None else features.mask.chunk(2)
    return Features(coarse[0], fine[0], mask[0]), Features(coarse[1], fine[1], mask[1])


def _wide(values: Tensor) -> Tensor:
    """The same in float32, or in float64 if it was."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _flat_mask(features: Features) -> Tensor | None:
    """Its mask as (B, H * W), None where it has none."""
    return None if features.mask is None else features.mask.flatten(1)


def _mask_of(features: Features) -> Tensor:
    """Its mask (B, H, W), all True where it has none."""
    if features.mask is not None:
        return features.mask
    B, _, H, W = features.coarse.shape
    return torch.ones(B, H, W, dtype=torch.bool, device=features.coarse.device)


def _cell_xy(cell: Tensor, width: int) -> Tensor:
    """Column and row (N, 2) of row-major cell numbers (N,)."""
    return torch.stack([cell % width, torch.div(cell, width, rounding_mode="floor")], -1)


def build_matcher(config: MatcherConfig) -> Matcher:
    """The network that `config` describes, with fresh weights."""
    trunk: nn.Module
    channels, fine_channels = config.coarse.channels, config.trunk.fine_channels
    if config.trunk.name == "slim":
        trunk = SlimTrunk(config.trunk.widths, config.trunk.blocks, channels, fine_channels)
    else:
        trunk = ResNetFPN(config.trunk.widths, config.trunk.blocks, channels, fine_channels)
    fine: LoftrFine | PatchRefiner
    if config.fine.name == "patch":
        fine = PatchRefiner(channels, fine_channels, config.fine.window, config.fine.iterations)
    else:
        fine = LoftrFine(channels, fine_channels, config.fine.window, config.fine.heads)
    layers = [_build_layer(config.coarse, kind) for kind in config.coarse.kinds]
    return Matcher(
        trunk=trunk,
        transformer=TwoViewTransformer(layers, config.coarse.kinds, config.coarse.simultaneous),
        fine=fine,
        size_multiple=16 if config.trunk.name == "slim" else STRIDE,
        standardise=config.trunk.name == "slim",
        corrected_encoding=config.coarse.corrected_encoding,
        similarity=config.similarity,
        temperature=config.temperature,
        matching=config.matching,
        threshold=config.threshold,
        border=config.border,
        half_pixel_cells=config.half_pixel_cells,
    )


def _build_layer(config: CoarseConfig, kind: Kind) -> nn.Module:
    """One encoder layer of the two-view transformer."""
    settings: dict[str, Any] = {"out_bias": config.block == "quadtree"}
    if config.attention == "quadtree":
        settings |= {"topk": config.topk, "variant": config.variant}
        if kind == "self":
            settings |= {"position": config.position, "value_pyramid": config.value_pyramid}
    attention = build_attention(config.attention, config.channels, config.heads, kind, **settings)
    if config.block == "loftr":
        return LoftrLayer(attention, config.channels)
    return QuadtreeBlock(attention, config.channels, config.mlp_ratio)
