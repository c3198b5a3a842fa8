"""The sampling op on any device and dtype: one `grid_sample` per map. See `sampling`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_OFF_MAP = 3.0  # in grid_sample's units, where a map reaches from -1 to 1: past every border
_BILINEAR, _ZEROS = 0, 0


class _Level(NamedTuple):
    """One map as grid_sample takes it, N = B * M."""

    first: int  # of its cells among those of all maps
    feature: Tensor  # (N, D, H, W)
    grid: Tensor  # (N, Q, K, 2)
    weight: Tensor  # (N, Q, K)


def forward(
    value: Tensor, sizes: Sequence[tuple[int, int]], location: Tensor, weight: Tensor
) -> Tensor:
    """See `sampling.sample_weighted`."""
    B, _, M, D = value.shape
    Q = location.shape[1]
    total = weight.new_zeros(B * M, D, Q)
    for level in _levels(value, sizes, location, weight):
        total += (_sampled(level) * level.weight[:, None]).sum(3)
    return total.view(B, M, D, Q).permute(0, 3, 1, 2).to(value.dtype).contiguous()


def backward(
    grad: Tensor,
    value: Tensor,
    sizes: Sequence[tuple[int, int]],
    location: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, location and weight for `grad` (B, Q, M, D)."""
    B, S, M, D = value.shape
    Q, K = location.shape[1], location.shape[4]
    of_message = grad.to(weight.dtype).permute(0, 2, 3, 1).reshape(B * M, D, Q, 1)
    grad_value = weight.new_empty(B, S, M, D)
    grad_location, grad_weight = torch.empty_like(location), torch.empty_like(weight)
    for i, level in enumerate(_levels(value, sizes, location, weight)):
        of_weight = (of_message * _sampled(level)).sum(1)
        grad_weight[:, :, :, i] = of_weight.view(B, M, Q, K).transpose(1, 2)
        of_map, of_grid = torch.ops.aten.grid_sampler_2d_backward(
            of_message * level.weight[:, None],
            level.feature,
            level.grid,
            _BILINEAR,
            _ZEROS,
            False,
            (True, True),
        )
        grad_location[:, :, :, i] = 2 * of_grid.view(B, M, Q, K, 2).transpose(1, 2)
        cells = of_map.view(B, M, D, -1).permute(0, 3, 1, 2)
        grad_value[:, level.first : level.first + cells.shape[1]] = cells
    return grad_value.to(value.dtype), grad_location, grad_weight


def _levels(
    value: Tensor, sizes: Sequence[tuple[int, int]], location: Tensor, weight: Tensor
) -> Iterator[_Level]:
    B, _, M, D = value.shape
    first = 0
    for i, (H, W) in enumerate(sizes):
        cells = value[:, first : first + H * W].to(weight.dtype)
        feature = cells.permute(0, 2, 3, 1).reshape(B * M, D, H, W)
        grid = 2 * location[:, :, :, i].transpose(1, 2).flatten(0, 1) - 1
        grid = grid.nan_to_num(_OFF_MAP).clamp(-_OFF_MAP, _OFF_MAP)
        yield _Level(first, feature, grid, weight[:, :, :, i].transpose(1, 2).flatten(0, 1))
        first += H * W


def _sampled(level: _Level) -> Tensor:
    """(N, D, Q, K)."""
    sampled: Tensor = torch.ops.aten.grid_sampler_2d(
        level.feature, level.grid, _BILINEAR, _ZEROS, False
    )
    return sampled
