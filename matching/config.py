"""What a matcher is made of: frozen settings, checked when they are made, and the named presets.

Only the builder in `matching.model` reads these; modules take plain arguments.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["self", "cross"]
Attention = Literal[  # attention_ops.MECHANISMS
    "linear",
    "softmax",
    "quadtree",
    "quadtree_classification",
    "spatial_reduction",
    "window",
    "focal",
    "nearest",
    "deformable",
    "multiscale_deformable",
    "deformed",
    "conditional",
    "detr",
]


@dataclass(frozen=True)
class TrunkConfig:
    """The convolutional trunk: coarse map at 1/8, fine map at 1/2."""

    name: Literal["resnet_fpn", "slim"] = "resnet_fpn"
    widths: tuple[int, ...] = (128, 196, 256)  # channels per stage, finest first
    blocks: tuple[int, ...] = (2, 2, 2)  # residual blocks per stage
    fine_channels: int = 128  # channels of the 1/2 map

    def __post_init__(self) -> None:
        stages = {"resnet_fpn": 3, "slim": 4}
        if self.name not in stages:
            raise ValueError(f"trunk name must be one of {sorted(stages)}, got {self.name!r}")
        if not len(self.widths) == len(self.blocks) == stages[self.name]:
            raise ValueError(
                f"trunk {self.name!r} has {stages[self.name]} stages: widths and blocks must have "
                f"as many entries, got {self.widths} and {self.blocks}"
            )


@dataclass(frozen=True)
class CoarseConfig:
    """The two-view transformer on the 1/8 maps."""

    block: Literal["loftr", "quadtree"] = (
        "loftr"  # encoder layer: post-norm MLP or pre-norm conv MLP
    )
    attention: Attention = "linear"  # others than quadtree with the settings they come with
    channels: int = 256
    heads: int = 8
    kinds: tuple[Kind, ...] = ("self", "cross") * 4
    mlp_ratio: int = 4  # quadtree block only
    simultaneous: bool = False  # cross layers see both images as they were before the layer
    variant: Literal["A", "B"] = "B"  # quadtree only, as the three fields below
    topk: tuple[int, ...] = (32, 16, 16)  # kept keys per level, coarsest level first
    position: Literal["none", "lepe"] = "none"
    value_pyramid: Literal["pool", "conv"] = "pool"
    corrected_encoding: bool = True  # sine position encoding; False: the table LoFTR shipped with

    def __post_init__(self) -> None:
        if self.channels < 1 or self.heads < 1:
            raise ValueError(
                f"channels and heads must be positive, got {self.channels} and {self.heads}"
            )
        if self.channels % self.heads or self.channels % 4:
            raise ValueError(
                f"channels ({self.channels}) must divide into heads ({self.heads}) and into 4 "
                "groups of sine and cosine of x and y"
            )
        if not self.kinds or set(self.kinds) - {"self", "cross"}:
            raise ValueError(f"kinds must be 'self' and 'cross' layers, got {self.kinds}")
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f"topk must be positive numbers, one per level, got {self.topk}")


@dataclass(frozen=True)
class FineConfig:
    """Refinement of coarse matches on the 1/2 maps."""

    name: Literal["loftr", "patch"] = "loftr"
    window: int = 5  # cells of the 1/2 map, each way
    heads: int = 8  # loftr only
    iterations: int = 4  # patch only: times the patch regressor runs

    def __post_init__(self) -> None:
        if self.name == "loftr" and self.window % 2 == 0:
            raise ValueError(f"the loftr window must be odd, got {self.window}")
        if self.name == "patch" and self.window % 2:
            raise ValueError(f"the patch window must be even, got {self.window}")


@dataclass(frozen=True)
class MatcherConfig:
    """A whole matcher."""

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    coarse: CoarseConfig = field(default_factory=CoarseConfig)
    fine: FineConfig = field(default_factory=FineConfig)
    matching: Literal["dual_softmax", "sinkhorn"] = "dual_softmax"
    similarity: Literal["scaled", "cosine"] = "scaled"  # <a, b> / (C t), or cosine * learned scale
    temperature: float = 0.1
    threshold: float = 0.2  # lowest confidence of a coarse match
    border: int = 2  # cells along the image edge that never match
    half_pixel_cells: bool = False  # False: cell i is at pixel 8 i (LoFTR); True: at 8 i + 3.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {self.threshold}")
        if self.border < 0:
            raise ValueError(f"border must be 0 or more cells, got {self.border}")


LOFTR = MatcherConfig()
QUADTREE = MatcherConfig(
    coarse=CoarseConfig(block="quadtree", attention="quadtree", simultaneous=True)
)
SMALL = MatcherConfig(
    trunk=TrunkConfig("slim", (24, 48, 96, 128), (0, 1, 1, 1), fine_channels=32),
    coarse=CoarseConfig(
        block="quadtree",
        attention="quadtree",
        channels=128,
        heads=4,
        kinds=("self", "cross") * 2,
        mlp_ratio=2,
        simultaneous=True,
        topk=(16, 8, 8),
        position="lepe",
    ),
    fine=FineConfig("patch", window=8),
    threshold=0.1,
    similarity="cosine",
    border=0,
    half_pixel_cells=True,
)

PRESETS: dict[str, MatcherConfig] = {
    "small": SMALL,
    "loftr": replace(LOFTR, coarse=replace(LOFTR.coarse, corrected_encoding=False)),
    "loftr_new": LOFTR,
    "loftr_ot": replace(
        LOFTR, coarse=replace(LOFTR.coarse, corrected_encoding=False), matching="sinkhorn"
    ),
    "quadtree": QUADTREE,
    "quadtree_a": replace(QUADTREE, coarse=replace(QUADTREE.coarse, variant="A")),
    "quadtree_outdoor": replace(QUADTREE, coarse=replace(QUADTREE.coarse, topk=(16, 8, 8))),
}
