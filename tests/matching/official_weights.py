"""Weights for tests of the official networks: random ones, and those of the reference files."""

import functools
import zlib
from dataclasses import replace

import torch

from matching.config import PRESETS
from matching.model import build_matcher


def rule_filled(shapes, halve_coarse):
    """Official weights by the rule of ../shared/reference/README.md."""
    return {name: _rule(name, shape, halve_coarse) for name, shape in shapes.items()}


def _rule(name, shape, halve_coarse):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    r = torch.randn(shape, generator=generator)
    if name.endswith("num_batches_tracked"):
        r = torch.tensor(0)
    elif name.endswith("running_mean"):
        r = 0.1 * r
    elif name.endswith("running_var"):
        r = 0.5 + r.abs()
    elif name.endswith("bias"):
        r = 0.05 * r
    elif r.dim() < 2:
        r = 1 + 0.2 * r if r.dim() else 0.3 * r
    else:
        halved = halve_coarse and name.startswith("loftr_coarse") and "dwconv" not in name
        r = r * (2 / r[0].numel()) ** 0.5 / (1 + halved)
    return r


@functools.cache
def random_matcher(preset, border=2):
    """A matcher with random weights and random running statistics; shared, so never change it."""
    torch.manual_seed(0)
    matcher = build_matcher(replace(PRESETS[preset], threshold=0.0, border=border)).eval()
    for name, value in matcher.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return matcher
