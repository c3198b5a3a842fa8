"""Launch settings: paddings, warps and tile sizes by size and dtype, from what the compiler says.

A fine program has one parent and so few numbers that one warp is best until registers run out
(`python -m attention_ops.triton_kernels.aot` prints registers and spills for every setting).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

DOT_SIDE = 16  # the shortest side that a matrix product may sum over
MAX_CHANNELS = 128
MAX_CANDIDATES = 256  # of a fine level: F * K padded
MAX_TILE = 1 << 14  # candidates times channels, both padded, that a fine program holds
MAX_TOPK = 128
MAX_PROGRAMS = (1 << 31) - 1
MAX_SLAB = 1 << 31  # elements of one head of one batch entry: offsets inside are int32
SCORES_PER_WARP = {2: 256, 4: 128}  # fine candidates x channels / 32 per warp, by bytes


@dataclass(frozen=True)
class Blocks:
    """Tile of the coarse kernels."""

    queries: int
    keys: int
    warps: int


def padded(count: int, least: int = 1) -> int:
    """The smallest power of two that is no less than `count` and `least`."""
    return max(1 << max(count - 1, 0).bit_length(), least)


def padded_channels(D: int) -> int:
    """Channels as a kernel holds them."""
    return padded(D, DOT_SIDE)


def padded_parents(K: int, F: int) -> int:
    """Parents as a fine kernel holds them: enough candidates for a matrix product."""
    return padded(K, DOT_SIDE // F)


def fine_warps(candidates: int, channels: int, element_size: int) -> int:
    """Warps of a fine program: one until its tile of keys passes what a warp's registers hold."""
    work = candidates * channels // 32
    return min(max(padded(work) // SCORES_PER_WARP[element_size], 1), 8)


def is_wide(tensor: Tensor) -> bool:
    """Whether products are taken in float32 on the ordinary units, not on tensor cores."""
    return tensor.dtype == torch.float32


def rows(tensor: Tensor) -> int:
    """Number of rows of a tensor (..., D)."""
    return math.prod(tensor.shape[:-1])
