"""PointMatcher: a matcher's features and a point decoder, "where does this pixel go?".

Plain tensors in, one frozen dataclass out; images as given and their pixels are the business of
`matching.point_prediction`. Checkpoints hold the decoder alone and a fingerprint of the matcher that it
was trained on.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attention_ops.reference_points import xy
from data_scripts.weights_file import load_weights, save_weights
from matching.model import Features, Matcher
from matching.point_config import PointConfig
from matching.point_decoder import Decoded, PairMaps, PointDecoder
from matching.point_maps import side_maps
from matching.point_start import compared_tokens
from matching.refine import PatchRefiner

CHUNK = 1024  # points decoded at once at inference: bounds memory
TRUNK = "trunk"  # entry of a card: fingerprint of the matcher
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointBatch:
    """Where N points of each of B images 0 lie in images 1."""

    points1: Tensor  # (B, N, 2) x, y in pixels of the network's image 1; NaN where none was asked
    confidence: Tensor  # (B, N) in [0, 1] that the point is visible and the answer right


class PointMatcher(nn.Module):
    """Finds given points of image 0 in image 1.

    The answer for a point does not depend on the other points.

    Args:
        matcher: gives the features; its cells must be centred on their pixels and its similarity
            be the cosine, as in the preset `small`.
        decoder: for features of those sizes.

    Raises:
        ValueError: another kind of matcher.
    """

    def __init__(self, matcher: Matcher, decoder: PointDecoder) -> None:
        super().__init__()
        if not matcher.cell_centre or matcher.log_scale is None:
            raise ValueError(
                "the matcher of a point decoder must have half_pixel_cells and similarity 'cosine' "
                "(preset small), got one without; load weights of that kind"
            )
        self.matcher = matcher
        self.decoder = decoder

    @torch.no_grad()
    def forward(
        self,
        image0: Tensor,
        image1: Tensor,
        points0: Tensor,
        mask0: Tensor | None = None,
        mask1: Tensor | None = None,
    ) -> PointBatch:
        """Finds points of a batch of pairs.

        Args:
            image0: (B, 1, H0, W0) grey in [0, 1], sides multiples of the matcher's `size_multiple`.
            image1: (B, 1, H1, W1).
            points0: (B, N, 2) x, y in pixels of image 0; a point that is not finite, outside or under
                the mask gets NaN and confidence 0.
            mask0: (B, H0, W0) bool, True = real pixel.
            mask1: (B, H1, W1).
        """
        features0 = self.matcher.extract(image0, mask0)
        features1 = self.matcher.extract(image1, mask1)
        size = (image0.shape[-2], image0.shape[-1])
        asked = _inside(points0, size, mask0)
        return self.find(self.prepare(features0, features1), points0, asked)

    def prepare(self, features0: Features, features1: Features) -> PairMaps:
        """What the decoder reads of pairs, once for all points.

        Args:
            features0: of images 0, as `matcher.extract` gives them.
            features1: of images 1.
        """
        tokens0, tokens1 = self.matcher.coarse_tokens(features0, features1)
        with torch.autocast(tokens0.device.type, enabled=False):
            side0 = side_maps(_map(tokens0, features0), features0.fine.float(), features0.mask)
            side1 = side_maps(_map(tokens1, features1), features1.fine.float(), features1.mask)
            unit0, scale = self.matcher.scaled(side0.tokens.flatten(2).mT)
            unit1, _ = self.matcher.scaled(side1.tokens.flatten(2).mT)
            tokens = compared_tokens(unit0, unit1, scale, side0, side1)
            pyramids = self.decoder.pyramid(side0), self.decoder.pyramid(side1)
        return PairMaps(side0, side1, *pyramids, tokens)

    @torch.no_grad()
    def find(self, pair: PairMaps, points0: Tensor, asked: Tensor | None = None) -> PointBatch:
        """Finds points of pairs.

        Args:
            pair: what `prepare` made of them.
            points0: (B, N, 2) x, y in pixels of image 0.
            asked: (B, N) bool, False = leave it out; None: all that are finite.
        """
        if asked is None:
            asked = torch.isfinite(points0).all(-1)
        clean = points0.masked_fill(~asked[..., None], 0).to(pair.side0.tokens.dtype)
        if not clean.shape[1]:
            return PointBatch(clean, clean[..., 0])
        found = []
        with torch.autocast(clean.device.type, enabled=False):
            for part in clean.split(CHUNK, 1):
                decoded: Decoded = self.decoder(pair, part)
                found.append((decoded.points, decoded.visible_logit.sigmoid()))
        points1 = torch.cat([each[0] for each in found], 1)
        confidence = torch.cat([each[1] for each in found], 1)
        return PointBatch(
            points1.masked_fill(~asked[..., None], torch.nan), confidence.masked_fill(~asked, 0)
        )


def _map(tokens: Tensor, features: Features) -> Tensor:
    """Tokens (B, L, C) as a map (B, C, h, w), in float32 or above."""
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    return wide.mT.unflatten(2, features.coarse.shape[-2:])


def _inside(points: Tensor, size: tuple[int, int], mask: Tensor | None) -> Tensor:
    """Which points (B, N, 2) lie between the corner pixels' centres and on real pixels: (B, N)."""
    limit = xy(size[1] - 1, size[0] - 1, points)
    inside = ((points >= 0) & (points <= limit)).all(-1)  # NaN is outside
    if mask is None:
        return inside
    x, y = points.masked_fill(~inside[..., None], 0).round().long().unbind(-1)
    pair = torch.arange(len(points), device=points.device)[:, None]
    return inside & mask[pair, y, x]


def build_point_matcher(matcher: Matcher, config: PointConfig) -> PointMatcher:
    """A point matcher on `matcher` with a fresh decoder.

    Raises:
        ValueError: the matcher has other channels than the config says, or is of another kind.
    """
    return PointMatcher(matcher, _fitting(matcher, PointDecoder(config)))


def save_points(
    path: str | Path,
    points: PointMatcher,
    config: PointConfig,
    card: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes the decoder with its config and card; see `save_weights`. Half precision halves it."""
    card = {**card, TRUNK: fingerprint(points.matcher)}
    save_weights(path, points.decoder, config, card, dtype)


def load_points(
    path: str | Path, matcher: Matcher
) -> tuple[PointMatcher, PointConfig, dict[str, Any]]:
    """The point matcher whose decoder is saved at `path`, on `matcher`, in eval mode.

    Logs a warning where the decoder was trained on the features of another matcher.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is no point decoder, is broken or does not fit the matcher.
    """
    decoder, config, card = load_weights(path, PointConfig, PointDecoder)
    if card.get(TRUNK) != fingerprint(matcher):
        logger.warning(
            "%s was trained on the features of other weights than these; it finds points less well",
            path,
        )
    return PointMatcher(matcher, _fitting(matcher, decoder)).eval(), config, card


def fingerprint(matcher: Matcher) -> str:
    """Says whether two matchers make the same features: all weights but those of the fine stage."""
    digest = hashlib.sha256()
    for name, value in sorted(matcher.state_dict().items()):
        if name.startswith("fine."):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _fitting(matcher: Matcher, decoder: PointDecoder) -> PointDecoder:
    """`decoder`, checked against the channels of the matcher."""
    fine = matcher.fine
    context = fine.context if isinstance(fine, PatchRefiner) else fine.down_proj
    wanted = (context.in_features, context.out_features)
    coarse = decoder.coarse.in_features
    have = (coarse, decoder.query.in_features - coarse)
    if wanted != have:
        raise ValueError(
            f"the decoder must read maps of {wanted[0]} and {wanted[1]} channels as this matcher "
            f"makes them, got one for {have[0]} and {have[1]}"
        )
    return decoder
