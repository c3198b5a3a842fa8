"""What one call of a mechanism costs at a token grid: FLOPs counted and by formula, memory, weights.

`mechanism_cost` runs the module and counts; `analytic_flops` is arithmetic on its settings, instant
at any size. Both count a forward pass with whole maps, without masks; see `cost` for what counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_ops import sampling
from attention_ops.conditional import ConditionalAttention, DetrAttention
from attention_ops.cost import CORNERS, flops, peak_memory
from attention_ops.deformable import DeformableAttention, MultiscaleDeformableAttention
from attention_ops.deformed import DeformedAttention
from attention_ops.focal import FocalAttention
from attention_ops.linear import LinearAttention
from attention_ops.mechanism import Mechanism
from attention_ops.nearest import NearestAttention
from attention_ops.quadtree import QuadtreeAttention
from attention_ops.quadtree_classification import QuadtreeClassification
from attention_ops.softmax import SoftmaxAttention
from attention_ops.spatial_reduction import SpatialReductionAttention
from attention_ops.window import WindowAttention

Grid = tuple[int, int]


@dataclass(frozen=True)
class MechanismCost:
    """One call of a mechanism, or one training step of it."""

    flops: int  # of matrix products, convolutions and sampling; 2 per multiply-add
    peak_bytes: int  # held at the peak on top of weights and maps; in training with all gradients
    parameters: int


def mechanism_cost(
    module: Mechanism,
    grid: Grid,
    source_grid: Grid | None = None,
    *,
    batch: int = 1,
    training: bool = False,
) -> MechanismCost:
    """Runs a mechanism on random maps and measures it, on the device and dtype of its weights.

    Args:
        module: the mechanism; gradients that it holds are dropped.
        grid: (H, W) of the query map in cells.
        source_grid: of the source map; None: the same map is the source.
        batch: B.
        training: measures a forward and a backward pass, with gradients of weights and maps.

    Raises:
        ValueError: a map of less than one cell.
    """
    _check_grids(grid, source_grid)
    weight = module.out.weight
    generator = torch.Generator().manual_seed(0)

    def drawn(size: Grid) -> Tensor:
        noise = torch.randn(batch, weight.shape[0], *size, generator=generator)
        return noise.to(weight.device, weight.dtype).requires_grad_(training)

    query_map = drawn(grid)
    source_map = query_map if source_grid is None else drawn(source_grid)
    maps = (query_map, source_map)

    def step(*maps: Tensor) -> None:
        if not training:
            with torch.no_grad():
                module(*maps)
            return
        module(*maps).sum().backward()
        module.zero_grad()
        for feature in maps:
            feature.grad = None

    module.zero_grad()
    step(*maps)  # what is allocated once, such as a backend's first call, is no part of a call
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return MechanismCost(flops(step, *maps), peak_memory(step, *maps), parameters)


def analytic_flops(module: Mechanism, grid: Grid, source_grid: Grid | None = None) -> int:
    """FLOPs of a forward pass for one batch entry, by the mechanism's formula (docs/mechanisms.md).

    Args:
        module: one of MECHANISMS.
        grid: (H, W) of the query map in cells.
        source_grid: of the source map; None: as the query map.

    Raises:
        ValueError: there is no formula for that class, or a map has less than one cell.
    """
    _check_grids(grid, source_grid)
    formula = _FORMULAS.get(type(module))
    if formula is None:
        known = ", ".join(sorted(kind.__name__ for kind in _FORMULAS))
        raise ValueError(f"module must be one of {known}, got {type(module).__name__}; count it")
    return 2 * formula(module, grid, grid if source_grid is None else source_grid)


def _check_grids(*grids: Grid | None) -> None:
    for grid in grids:
        if grid is not None and min(grid) < 1:
            raise ValueError(f"a grid must be (H, W) of at least one cell, got {grid}")


# Multiply-adds from here on. L, S: cells of the query and source map; C: channels.


def _softmax(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, S, C = math.prod(grid), math.prod(source_grid), module.out.in_features
    return 2 * (L + S) * C**2 + 2 * L * S * C


def _linear(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, S, C = math.prod(grid), math.prod(source_grid), module.out.in_features
    return 2 * (L + S) * C**2 + (L + S) * C * (C // module.heads) + L * C


def _quadtree(module: Any, grid: Grid, source_grid: Grid) -> int:
    C, levels = module.out.in_features, module.levels
    L, S = _padded(grid, 2 ** (levels - 1)), _padded(source_grid, 2 ** (levels - 1))
    total = 2 * (math.prod(grid) + math.prod(source_grid)) * C**2
    candidates = S >> 2 * (levels - 1)
    for i, topk in enumerate(module.topk):
        total += 2 * (L >> 2 * (levels - 1 - i)) * candidates * C
        candidates = 4 * min(topk, candidates)
    per_cell = (9 * C if module.lepe is not None else 0, C**2 if module.value_steps else 0)
    encoded = sum(S >> 2 * i for i in range(levels))  # cells of all levels
    return total + encoded * per_cell[0] + (encoded - (S >> 2 * (levels - 1))) * per_cell[1]


def _quadtree_classification(module: Any, grid: Grid, source_grid: Grid) -> int:
    C, S = module.out.in_features, _padded(source_grid, 2 ** (module.levels - 1))
    halved = sum(S >> 2 * i for i in range(module.levels - 1))
    return _quadtree(module, grid, source_grid) + halved * C**2 + halved // 4 * C**2


def _spatial_reduction(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, C = math.prod(grid), module.out.in_features
    if module.reduction == "conv":
        cells = _padded(source_grid, module.ratio)
        keys, reducing = cells // module.ratio**2, cells * C**2
    else:
        bins, (height, width) = module.pool_size, source_grid
        keys = bins**2
        reducing = bins * width * (height + bins) * (C + 1) + keys * C**2
    return 2 * (L + keys) * C**2 + reducing + 2 * L * keys * C


def _window(module: Any, grid: Grid, source_grid: Grid, more_keys: int = 0) -> int:
    L, S, C = math.prod(grid), math.prod(source_grid), module.out.in_features
    started = (grid[0] + module.before, grid[1] + module.before)
    keys = (module.window + 2 * module.margin) ** 2 + more_keys
    return 2 * (L + S) * C**2 + 2 * _padded(started, module.window) * keys * C


def _focal(module: Any, grid: Grid, source_grid: Grid) -> int:
    C, S = module.out.in_features, _padded(source_grid, module.window)
    pooled = S * C + 2 * (S // module.window**2) * C**2
    return _window(module, grid, source_grid, module.regions**2) + pooled


def _nearest(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, S, C = math.prod(grid), math.prod(source_grid), module.out.in_features
    return 2 * (L + S) * C**2 + L * S * C + 2 * L * min(module.topk, S) * C


def _deformable(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, C, cells, side = math.prod(grid), module.out.in_features, 0, source_grid
    for _ in range(module.levels):
        cells += math.prod(side)
        side = (-(-side[0] // 2), -(-side[1] // 2))
    points = module.levels * module.points
    looks = L * C * 3 * module.heads * points
    return (L + cells) * C**2 + looks + sampling.FORWARD_PRODUCTS * L * points * C


def _deformed(module: Any, grid: Grid, source_grid: Grid) -> int:  # noqa: ARG001  same for all
    L, C = math.prod(grid), module.out.in_features
    keys = _padded(grid, module.stride) // module.stride**2
    offsets = keys * C * (module.kernel**2 + 2)
    bias = CORNERS * L * keys * module.heads if module.bias_table is not None else 0
    return 2 * (L + keys) * C**2 + offsets + CORNERS * keys * C + bias + 2 * L * keys * C


def _conditional(module: Any, grid: Grid, source_grid: Grid) -> int:
    L, S, C = math.prod(grid), math.prod(source_grid), module.out.in_features
    of_query = 4 if module.first_place is not None else 5
    return (of_query * L + 3 * S) * C**2 + 4 * L * S * C  # values are filled up to 2 D


def _padded(grid: Grid, side: int) -> int:
    """Cells of a map filled up to multiples of `side`."""
    return -(-grid[0] // side) * -(-grid[1] // side) * side**2


_FORMULAS: dict[type[Mechanism], Callable[[Any, Grid, Grid], int]] = {
    SoftmaxAttention: _softmax,
    LinearAttention: _linear,
    QuadtreeAttention: _quadtree,
    QuadtreeClassification: _quadtree_classification,
    SpatialReductionAttention: _spatial_reduction,
    WindowAttention: _window,
    FocalAttention: _focal,
    NearestAttention: _nearest,
    DeformableAttention: _deformable,
    MultiscaleDeformableAttention: _deformable,
    DeformedAttention: _deformed,
    ConditionalAttention: _conditional,
    DetrAttention: _softmax,
}
