"""The point decoder: queries are points of image 0, each layer moves their reference points in image 1.

After DETR (Carion et al. 2020) and Deformable DETR (Zhu et al. 2021, iterative refinement, appendix
A.4); queries that are points are COTR's (Jiang et al. 2021). Each layer attends to the pyramid of the
image that the point lies in, then to that of the other round the estimate of its match. Steps of the
reference are added in coarse cells, where the papers add in logits of the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops import point_encoding
from matching.point_attention import PointAttention
from matching.point_config import DecoderAttention, PointConfig
from matching.point_maps import (
    COARSE_STRIDE,
    FINE_STRIDE,
    STRIDES,
    Pyramid,
    SideMaps,
    cell_places,
    enlarged,
    fractions,
    halved,
    in_cells,
    pyramid_masks,
    sample,
    square,
)
from matching.point_refine import PointRefiner
from matching.point_start import Tokens, correlation_peak

COARSE_LOOK, FINE_LOOK = 5, 7  # sides of the squares of cells whose correlation a layer reads
CERTAINTIES = 2  # numbers of `correlation_peak`


@dataclass(frozen=True)
class Decoded:
    """What became of N points of each of B pairs, in pixels of the network's image 1."""

    points: Tensor  # (B, N, 2) the answer
    visible_logit: Tensor  # (B, N) of the answer being a visible point and right
    start: Tensor  # (B, N, 2) first reference points
    layers: tuple[Tensor, ...]  # (B, N, 2) after each layer
    refined: tuple[Tensor, ...]  # (B, N, 2) after each pass of the sub-pixel stage
    log_spreads: tuple[Tensor, ...]  # (B, N) log of the expected error in fine cells of those


@dataclass(frozen=True)
class PairMaps:
    """All that the decoder reads of B pairs, made once for any number of points."""

    side0: SideMaps
    side1: SideMaps
    pyramid0: Pyramid
    pyramid1: Pyramid
    tokens: Tokens | None  # for the correlation start


class PointLayer(nn.Module):
    """Attention to both images, then a small network; norms after each, as in DETR."""

    def __init__(
        self,
        attention: DecoderAttention,
        channels: int,
        heads: int,
        mlp_ratio: int,
        *,
        first: bool,
        looks: bool,
    ) -> None:
        super().__init__()
        self.place = nn.Linear(channels, channels)
        self.own = PointAttention(attention, channels, heads, "self", first=first)
        self.other = PointAttention(attention, channels, heads, "cross", first=first)
        self.look = nn.Linear(COARSE_LOOK**2 + FINE_LOOK**2, channels) if looks else None
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels),
            nn.ReLU(inplace=True),
            nn.Linear(mlp_ratio * channels, channels),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        last = nn.Linear(channels, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.step = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(inplace=True), last)

    def forward(
        self, state: Tensor, points0: Tensor, points1: Tensor, pair: PairMaps, looks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """State (B, N, C) and moved points (B, N, 2)."""
        where = fractions(points1, pair.side1.extent)
        state = state + self.place(point_encoding(where, state.shape[-1]))
        state = self.norms[0](state + self.own(state, points0, pair.pyramid0))
        state = self.norms[1](state + self.other(state, points1, pair.pyramid1))
        seen = state if self.look is None or looks is None else state + self.look(looks)
        state = self.norms[2](state + self.mlp(seen))
        return state, points1 + COARSE_STRIDE * self.step(state)


class PointDecoder(nn.Module):
    """Finds points of image 0 in image 1, from the features of a matcher.

    Args:
        config: see `PointConfig`.
    """

    def __init__(self, config: PointConfig) -> None:
        super().__init__()
        channels, correlated = config.channels, config.start == "correlation"
        features = config.coarse_channels + config.fine_channels
        self.query = nn.Linear(features, channels)
        self.place = nn.Linear(channels, channels)
        self.coarse = nn.Linear(config.coarse_channels, channels)
        self.quarter: nn.Linear | None = None  # only deformable attention reads several maps
        if config.attention == "deformable":
            self.quarter = nn.Linear(config.fine_channels, channels)
        self.start: nn.Module | None = None
        if not correlated:
            self.start = nn.Sequential(
                nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, 2)
            )
        self.layers = nn.ModuleList(
            PointLayer(
                config.attention,
                channels,
                config.heads,
                config.mlp_ratio,
                first=number == 0,
                looks=correlated,
            )
            for number in range(config.layers)
        )
        if config.alike:
            self._start_alike(config.coarse_channels)
        self.refiner = PointRefiner(config.refinements) if config.refinements else None
        known = channels + CERTAINTIES * correlated + (config.refinements > 0)
        self.visible = nn.Sequential(
            nn.Linear(known, channels), nn.ReLU(inplace=True), nn.Linear(channels, 1)
        )

    @torch.no_grad()
    def _start_alike(self, coarse_channels: int) -> None:
        """Queries and cells of the coarse map start with one projection, which keeps angles."""
        nn.init.orthogonal_(self.coarse.weight)
        self.query.weight.zero_()
        self.query.weight[:, :coarse_channels] = self.coarse.weight
        self.query.bias.copy_(self.coarse.bias)
        for layer in self.layers:
            assert isinstance(layer, PointLayer)
            layer.other.start_alike()

    def pyramid(self, side: SideMaps) -> Pyramid:
        """The maps that the layers attend to, with places added to what they show."""
        coarse = self._placed(self.coarse, side.tokens, COARSE_STRIDE, side)
        if self.quarter is None:
            return Pyramid(coarse, side.mask, (), (), side.extent)
        fine_mask = None
        if side.mask is not None:
            fine_mask = enlarged(side.mask, COARSE_STRIDE // FINE_STRIDE)
        fine = halved(side.fine, fine_mask)
        quarter = self._placed(self.quarter, fine, STRIDES[0], side)
        pooled = self._placed(self.coarse, halved(side.tokens, side.mask), STRIDES[2], side)
        masks = pyramid_masks(side.mask)
        return Pyramid(coarse, side.mask, (quarter, coarse, pooled), masks, side.extent)

    def _placed(self, shown: nn.Module, feature: Tensor, stride: int, side: SideMaps) -> Tensor:
        """Cells (B, H, W, C) of a map (B, D, H, W) of that stride, and where they lie."""
        extent = side.extent[:1] if side.mask is None else side.extent  # all equal without masks
        size = (feature.shape[2], feature.shape[3])
        places = cell_places(size, stride, extent, self.place.in_features)
        return shown(feature.permute(0, 2, 3, 1)) + self.place(places)

    def forward(self, pair: PairMaps, points0: Tensor, stray: Tensor | None = None) -> Decoded:
        """Finds points (B, N, 2) px of image 0; they must be finite.

        Args:
            pair: of the same B pairs.
            points0: where the queries are.
            stray: (B, N, 2) px added to the first reference points, in training.
        """
        tokens0 = sample(pair.side0.tokens, in_cells(points0, COARSE_STRIDE)[:, :, None])[:, :, 0]
        fine0 = sample(pair.side0.fine, in_cells(points0, FINE_STRIDE)[:, :, None])[:, :, 0]
        place = point_encoding(fractions(points0, pair.side0.extent), self.place.in_features)
        state = self.query(torch.cat([tokens0, fine0], -1)) + self.place(place)
        start, known = self._start(state, tokens0, pair)
        points1 = start if stray is None else start + stray
        steps: list[Tensor] = []
        for layer in self.layers:
            points1 = points1.detach() if steps else points1
            looks = None
            if layer.look is not None:
                looks = torch.cat(
                    [
                        _correlation(tokens0, pair.side1.tokens, points1, COARSE_STRIDE),
                        _correlation(fine0, pair.side1.fine, points1, FINE_STRIDE),
                    ],
                    -1,
                )
            state, points1 = layer(state, points0, points1, pair, looks)
            steps.append(points1)
        refined: list[Tensor] = []
        log_spreads: list[Tensor] = []
        if self.refiner is not None:
            fine = pair.side0.fine, pair.side1.fine
            refined, log_spreads = self.refiner(*fine, points0, points1)
            points1 = refined[-1]
            known.append(log_spreads[-1].detach()[..., None])
        visible = self.visible(torch.cat([state, *known], -1))[..., 0]
        return Decoded(points1, visible, start, tuple(steps), tuple(refined), tuple(log_spreads))

    def _start(self, state: Tensor, tokens0: Tensor, pair: PairMaps) -> tuple[Tensor, list[Tensor]]:
        """First reference points (B, N, 2) px, and what is known of their certainty."""
        if self.start is not None:
            return self.start(state).sigmoid() * pair.side1.extent[:, None] - 0.5, []
        assert pair.tokens is not None
        unit = F.normalize(tokens0, dim=-1)
        start, certainty = correlation_peak(unit, pair.tokens)
        return start, [certainty]


def _correlation(query: Tensor, feature: Tensor, points: Tensor, stride: int) -> Tensor:
    """Cosines (B, N, side * side) of queries (B, N, C) with the cells round points of a map."""
    side = COARSE_LOOK if stride == COARSE_STRIDE else FINE_LOOK
    around = in_cells(points, stride)[:, :, None] + square(side, points)
    found = F.normalize(sample(feature, around), dim=-1)
    return (found @ F.normalize(query, dim=-1)[..., None])[..., 0]
