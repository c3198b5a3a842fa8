"""What a stereo network is made of: frozen settings, checked when they are made, and the presets.

Only `stereo.model.build_stereo` reads these; modules take plain arguments.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["self", "cross"]
Network = Literal["rows", "sttr", "sttr_light"]


@dataclass(frozen=True)
class TrunkConfig:
    """The convolutional trunk of `rows` networks; its map is at 1/4."""

    widths: tuple[int, ...] = (24, 48, 96, 128)  # channels at 1/2, 1/4, 1/8 and 1/16
    blocks: tuple[int, ...] = (0, 1, 1, 1)  # residual blocks there

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.blocks) == 4:
            raise ValueError(
                f"the trunk has 4 stages: widths and blocks must have as many entries, got "
                f"{self.widths} and {self.blocks}"
            )


@dataclass(frozen=True)
class RowsConfig:
    """The two-view transformer along epipolar rows."""

    attention: Literal["row_quadtree", "row_softmax", "row_linear", "band_quadtree"] = (
        "row_quadtree"
    )
    channels: int = 64
    heads: int = 4
    kinds: tuple[Kind, ...] = ("self", "cross") * 2
    mlp_ratio: int = 2
    topk: tuple[int, ...] = (8, 8, 8)  # quadtree only: kept keys per level, coarsest first
    fan_out: int = 2  # row_quadtree only: children of a token
    band: int = 4  # band_quadtree only: rows above and below that a row may look at

    def __post_init__(self) -> None:
        if self.heads < 1 or self.channels % (2 * self.heads):
            raise ValueError(
                f"channels ({self.channels}) must divide into heads ({self.heads}) of even width"
            )
        if not self.kinds or set(self.kinds) - {"self", "cross"}:
            raise ValueError(f"kinds must be 'self' and 'cross' layers, got {self.kinds}")
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f"topk must be positive numbers, one per level, got {self.topk}")


@dataclass(frozen=True)
class RefineConfig:
    """Transport along the rows and the recurrent refinement after it."""

    transport_steps: int = 3  # Sinkhorn iterations
    hidden: int = 48  # channels of the recurrent state
    iterations: int = 4
    radius: int = 4  # cells each way that a refinement step sees, on each scale
    scales: int = 2  # scales of the scores, each half as wide as the one before
    propagation: int = 0  # rounds in which pixels try their neighbours' disparities, at inference

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "propagation" else 1
            if value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")
        if self.hidden % 2:
            raise ValueError(f"hidden must be even, got {self.hidden}")


@dataclass(frozen=True)
class StereoConfig:
    """A whole stereo network; the official ones have nothing to set."""

    network: Network = "rows"
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    rows: RowsConfig = field(default_factory=RowsConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)

    def __post_init__(self) -> None:
        if self.network not in get_args(Network):
            raise ValueError(f"network must be one of {get_args(Network)}, got {self.network!r}")


PRESETS: dict[str, StereoConfig] = {
    "small": StereoConfig(refine=RefineConfig(propagation=2)),
    "sttr": StereoConfig("sttr"),
    "sttr_light": StereoConfig("sttr_light"),
}
