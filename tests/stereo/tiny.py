"""A stereo network of a few thousand weights, and labelled batches of noise, for tests."""

import torch

from stereo.config import RefineConfig, RowsConfig, StereoConfig, TrunkConfig
from stereo.data import Batch

TINY = StereoConfig(
    trunk=TrunkConfig((4, 8, 8, 8), (0, 0, 0, 0)),
    rows=RowsConfig(channels=16, heads=2, kinds=("self", "cross"), topk=(4, 4)),
    refine=RefineConfig(hidden=8, iterations=2, radius=2),
)


def shifted_batch(shift: int = 8, size: tuple[int, int] = (32, 64), batch: int = 2) -> Batch:
    """Noise whose right image is the left one moved by `shift` px, with its labels."""
    H, W = size
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(batch, 3, H, W + shift, generator=generator)
    columns = torch.arange(W).expand(batch, H, W)
    return Batch(
        left=wide[..., :W],
        right=wide[..., shift:],
        disp=torch.full((batch, H, W), float(shift)),
        known=torch.ones(batch, H, W, dtype=torch.bool),
        occluded=columns < shift,
        occluded_right=columns >= W - shift,
    )
