"""The stereo network of quadview: trunk, two-view transformer along rows, transport, refinement.

The pipeline is STTR's (Li et al., ICCV 2021) with QuadTree attention on the tree of each row (Tang et al.,
ICLR 2022) and, in place of its context adjustment, a recurrent refinement (Lipson et al. 2021). The
official STTR networks are in `stereo.sttr`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops import build_attention
from attention_ops.quarter_trunk import QuarterTrunk
from attention_ops.two_view import QuadtreeBlock, TwoViewTransformer
from data_scripts.images import GREY
from stereo.config import RowsConfig, StereoConfig
from stereo.output import StereoOutput
from stereo.propagation import propagated
from stereo.refine import Refinement, Refiner
from stereo.regression import regress_rows
from stereo.semi_global import with_semi_global
from stereo.transport import BOUND, sinkhorn_of_bounded

STRIDE = 4  # pixels of a cell
DEVIATION_FLOOR = 1e-3  # an image of one colour would divide by zero
WINDOW = 2  # cells each way round the best match whose expectation is the first estimate
# Score of a right cell that lies further right than the left one: far below all others.
FORBIDDEN = -1e4
WEAK_MASS = 0.5  # an estimate whose window holds less is no start for the refinement
NEIGHBOURHOODS = (5, 17, 65)  # cells a side
WEIGHT_FLOOR = 1e-9  # of weak estimates, where no strong one is near


@dataclass(frozen=True)
class StereoSteps:
    """Everything that training looks at."""

    assignment: (
        Tensor  # (B, H/4, W/4 + 1, W/4 + 1) shares of the transport; the last is the dustbin
    )
    coarse_disparity: Tensor  # (B, H/4, W/4) first estimate, px
    refinement: Refinement


class StereoNetwork(nn.Module):
    """Disparity of a rectified pair; see `build_stereo` for the settings.

    Args:
        trunk: grey image (B, 1, H, W) -> (B, C, H/4, W/4).
        transformer: updates both maps, each row from the same row.
        refiner: from the first estimate to the answer.
        channels: C.
        transport_steps: Sinkhorn iterations.
        propagation: rounds of `propagated` on the answer of `forward`.
    """

    size_multiple = QuarterTrunk.size_multiple
    takes_semi_global = True

    def __init__(
        self,
        trunk: nn.Module,
        transformer: TwoViewTransformer,
        refiner: Refiner,
        channels: int,
        transport_steps: int,
        propagation: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.transformer = transformer
        self.refiner = refiner
        self.project = nn.Conv2d(channels, channels, 1)
        self.transport_steps = transport_steps
        self.propagation = propagation
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.dustbin = nn.Parameter(torch.tensor(3.0))

    def forward(self, left: Tensor, right: Tensor, semi_global: bool = False) -> StereoOutput:
        """Disparities of a batch, by the network alone or with semi-global matching where it is weak.

        Args:
            left: (B, 3, H, W) RGB in [0, 1], sides multiples of `size_multiple`.
            right: (B, 3, H, W).
            semi_global: whether `with_semi_global` answers where the network is not sure, on the CPU.

        Raises:
            ValueError: other shapes.
        """
        refinement = self.steps(left, right).refinement
        disp = refinement.disparity[-1].clamp_min(0)
        if semi_global:
            disp = with_semi_global(left, right, disp, refinement.log_spread.exp())
        return StereoOutput(
            disparity=propagated(left, right, disp, self.propagation),
            occlusion=refinement.occlusion_logit.sigmoid(),
            confidence=confidence(refinement.log_spread),
        )

    def steps(self, left: Tensor, right: Tensor) -> StereoSteps:
        """The same with what lies on the way."""
        self._check(left, right)
        both = standardised(torch.cat([left, right]))
        features = self.trunk(both.contiguous(memory_format=torch.channels_last))
        left_map, right_map = self.transformer(*features.chunk(2))
        scores = self.scores(left_map, right_map)
        assignment = self._transport(scores)
        found = regress_rows(assignment.flatten(0, 1), WINDOW)
        rows = scores.shape[1]
        disp, mass = (value.unflatten(0, (-1, rows)) for value in (found.disparity, found.mass))
        mass = mass[:, None]
        refinement = self.refiner(left_map, scores, without_weak(disp[:, None], mass), mass)
        return StereoSteps(assignment, STRIDE * disp, refinement)

    def _check(self, left: Tensor, right: Tensor) -> None:
        if left.dim() != 4 or left.shape[1] != 3 or left.shape != right.shape:
            raise ValueError(
                f"left and right must be (B, 3, H, W) and alike, got {tuple(left.shape)} and "
                f"{tuple(right.shape)}"
            )
        H, W = left.shape[-2:]
        if H % self.size_multiple or W % self.size_multiple or not H * W:
            raise ValueError(
                f"left must have sides that are multiples of {self.size_multiple}, got {H} x {W}; "
                "pad it, or use stereo.load_predictor"
            )

    def scores(self, left_map: Tensor, right_map: Tensor) -> Tensor:
        """Similarity (B, H/4, W/4, W/4) of every left cell with every right cell of its row."""
        wide = torch.promote_types(left_map.dtype, torch.float32)
        with torch.autocast(left_map.device.type, enabled=False):
            left_unit, right_unit = (
                F.normalize(self.project(feature.to(wide)), dim=1).permute(0, 2, 3, 1)
                for feature in (left_map, right_map)
            )
            scale = self.log_scale.exp().clamp(max=BOUND / 2)  # a cosine has a range of 2
            return scale * left_unit @ right_unit.mT

    def _transport(self, scores: Tensor) -> Tensor:
        """Shares (B, H/4, W/4 + 1, W/4 + 1); a left cell never goes to one further right."""
        W = scores.shape[-1]
        column = torch.arange(W, device=scores.device)
        further = column > column[:, None]
        logits = scores.masked_fill(further, FORBIDDEN).flatten(0, 1)
        shares = sinkhorn_of_bounded(logits, self.dustbin, self.transport_steps)
        return shares.unflatten(0, scores.shape[:2])


def without_weak(disp: Tensor, mass: Tensor) -> Tensor:
    """Estimates (B, 1, H, W) with weak ones replaced by what lies round them.

    That is the mean of the strong ones in the smallest of three windows that holds some: each wider
    window counts a hundredth of the one before.
    """
    weight = torch.where(mass > WEAK_MASS, mass, WEIGHT_FLOOR)
    total, count = torch.zeros_like(disp), torch.zeros_like(disp)
    for number, side in enumerate(NEIGHBOURHOODS):
        share = 0.01**number
        total = total + share * _box_mean(weight * disp, side)
        count = count + share * _box_mean(weight, side)
    return torch.where(mass > WEAK_MASS, disp, total / count)


def _box_mean(values: Tensor, side: int) -> Tensor:
    """Means over windows of side x side cells of a map (B, 1, H, W), with zeros outside of it."""
    down = F.avg_pool2d(values, (side, 1), 1, (side // 2, 0))
    return F.avg_pool2d(down, (1, side), 1, (0, side // 2))


def standardised(image: Tensor) -> Tensor:
    """Grey (B, 1, H, W) with mean 0 and deviation 1 of an RGB image (B, 3, H, W)."""
    # filled where they are used: a tensor of numbers would be copied to a GPU, which waits
    weights = torch.stack([image.new_full((1, 1), share) for share in GREY])
    grey = (image * weights).sum(1, keepdim=True)
    deviation, mean = torch.std_mean(grey, (1, 2, 3), correction=0, keepdim=True)
    return (grey - mean) / (deviation + DEVIATION_FLOOR)


def confidence(log_spread: Tensor) -> Tensor:
    """Chance that the disparity is right to 1 px, if errors are Laplacian with this log spread."""
    return -torch.expm1(-torch.exp(-log_spread))


def build_stereo(config: StereoConfig) -> nn.Module:
    """The network that `config` describes, with fresh weights; called as network(left, right)."""
    if config.network != "rows":
        from stereo.sttr import SttrNetwork

        return SttrNetwork(light=config.network == "sttr_light")
    rows, refine = config.rows, config.refine
    layers = [_build_layer(rows, kind) for kind in rows.kinds]
    return StereoNetwork(
        trunk=QuarterTrunk(config.trunk.widths, config.trunk.blocks, rows.channels),
        transformer=TwoViewTransformer(layers, rows.kinds),
        refiner=Refiner(
            rows.channels, refine.hidden, refine.iterations, refine.radius, refine.scales
        ),
        channels=rows.channels,
        transport_steps=refine.transport_steps,
        propagation=refine.propagation,
    )


def _build_layer(config: RowsConfig, kind: str) -> nn.Module:
    """One encoder layer of the two-view transformer."""
    settings: dict[str, Any] = {}
    if config.attention.endswith("quadtree"):
        settings["topk"] = config.topk
    if config.attention == "row_quadtree":
        settings["fan_out"] = config.fan_out
    if config.attention == "band_quadtree":
        settings["band"] = config.band
    attention = build_attention(config.attention, config.channels, config.heads, kind, **settings)  # type: ignore[arg-type]
    return QuadtreeBlock(attention, config.channels, config.mlp_ratio)
