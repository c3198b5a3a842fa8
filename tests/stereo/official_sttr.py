"""Weights for tests of STTR: those of the reference files, by the rule of their README."""

import zlib

import torch


def rule_filled(shapes):
    """Official weights by the rule of ../shared/reference/README.md."""
    return {name: _rule(name, shape) for name, shape in shapes.items()}


def _rule(name, shape):
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        r = torch.tensor(0)
    elif name.endswith("bias"):
        r = 0.05 * r
    elif name.endswith("weight_g"):
        r = 1 + 0.1 * r.abs()
    elif r.dim() < 2:
        r = 1 + 0.2 * r if r.dim() else 0.3 * r
    else:
        r = r * (2 / r[0].numel()) ** 0.5
    return r
