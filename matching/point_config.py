"""What a point decoder is made of: frozen settings, checked when they are made."""

from dataclasses import dataclass
from typing import Literal

DecoderAttention = Literal["full", "conditional", "deformable", "quadtree"]


@dataclass(frozen=True)
class PointConfig:
    """A point decoder on the features of a matcher."""

    attention: DecoderAttention = "deformable"
    # Where a point is looked for first: the peak of its correlation with the coarse map, or what a
    # small network says from the query alone, as in DETR's successors.
    start: Literal["correlation", "learned"] = "correlation"
    # Whether untrained attention to the other image already compares what queries and cells show.
    alike: bool = False
    channels: int = 96
    heads: int = 4
    layers: int = 3
    mlp_ratio: int = 2
    refinements: int = 2  # passes of the sub-pixel stage; 0 leaves it out
    coarse_channels: int = 128  # of the matcher's maps, as the next
    fine_channels: int = 32

    def __post_init__(self) -> None:
        if self.channels < 4 or self.channels % 4 or self.channels % self.heads:
            raise ValueError(
                "channels must divide into 4 groups of sine and cosine of x and y and into heads "
                f"({self.heads}), got {self.channels}"
            )
        if self.layers < 1 or self.refinements < 0 or self.mlp_ratio < 1:
            raise ValueError(
                "layers and mlp_ratio must be 1 or more and refinements 0 or more, got "
                f"{self.layers}, {self.mlp_ratio} and {self.refinements}"
            )
