"""Trees of tokens over maps as ops (quadview::pyramid, quadview::merge): the door and gradients.

A map goes to the tokens of all its levels in one pass, messages of all levels back to a map in
another; each is the gradient of the other. The maths stand in `trees`. Additions only, which `cost`
does not count.
"""

from typing import Any

import torch
from torch import Tensor

from attention_ops import gather_only, native_tree, trees
from attention_ops.backends import family
from attention_ops.trees import Fan, Grid


@torch.library.custom_op("quadview::pyramid", mutates_args=())
def _pyramid(
    cells: Tensor,
    mask: Tensor | None,
    turn: Tensor | None,
    heads: int,
    levels: int,
    fan_rows: int,
    fan_columns: int,
    mean: bool,
) -> list[Tensor]:
    run = native_tree.pyramid if _is_native(cells, levels) else trees.pyramid_of
    return run(cells, mask, turn, heads, levels, (fan_rows, fan_columns), mean)


@torch.library.custom_op("quadview::merge", mutates_args=())
def _merge(
    tokens: list[Tensor],
    weight: Tensor | None,
    mask: Tensor | None,
    turn: Tensor | None,
    height: int,
    width: int,
    fan_rows: int,
    fan_columns: int,
    mean: bool,
) -> Tensor:
    run = native_tree.merge if _is_native(tokens[0], len(tokens)) else trees.merged
    return run(tokens, weight, mask, turn, (height, width), (fan_rows, fan_columns), mean)


def pyramid(
    cells: Tensor,
    mask: Tensor | None,
    heads: int,
    levels: int,
    fan: Fan,
    turn: Tensor | None = None,
) -> list[Tensor]:
    """Tokens of every level of a map, a parent the mean of its valid children.

    Args:
        cells: (B, H, W, C), any H and W; the cells that whole trees lack are zero and not valid.
        mask: (B, H, W) bool, True = valid, or None; what is not valid becomes 0.
        heads: M; channel = head * D + d.
        levels: how many.
        fan: rows and columns of the children of a token, (2, 2) for maps, (1, F) for rows.
        turn: (L of all levels, 2, D) rotation of the tokens, see `trees.turned`, or None.

    Returns:
        (B, M, L, D) for every level, coarsest first.
    """
    if gather_only.active():
        return gather_only.pyramid(cells, mask, heads, levels, fan, turn)
    # A list of its own: torch.compile does not let go of elements of the one that an op returns.
    return [*_pyramid(cells, mask, turn, heads, levels, *fan, True)]


def merge(tokens: list[Tensor], weight: Tensor | None, size: tuple[int, int], fan: Fan) -> Tensor:
    """Every cell the sum of the tokens above it, each times the weight of its level.

    Args:
        tokens: (B, M, L, D) for every level, coarsest first.
        weight: (levels,), or None for ones.
        size: H and W of the map.
        fan: as in `pyramid`.

    Returns:
        (B, H, W, C).
    """
    if gather_only.active():
        return gather_only.merge(tokens, weight, size, fan)
    cells: Tensor = _merge(tokens, weight, None, None, *size, *fan, False)
    return cells


def _is_native(tensor: Tensor, levels: int) -> bool:
    return family(tensor) == "native" and native_tree.serves(tensor, levels)


@_pyramid.register_fake
def _(
    cells: Tensor,
    mask: Any,
    turn: Any,
    heads: int,
    levels: int,
    fan_rows: int,
    fan_columns: int,
    mean: bool,
) -> list[Tensor]:
    B, H, W, C = cells.shape
    sizes = Grid(H, W, levels, (fan_rows, fan_columns)).tokens
    return [cells.new_empty(B, heads, size, C // heads) for size in sizes]


@_merge.register_fake
def _(
    tokens: list[Tensor], weight: Any, mask: Any, turn: Any, height: int, width: int, *rest: Any
) -> Tensor:
    B, M, _, D = tokens[0].shape
    return tokens[0].new_empty(B, height, width, M * D)


def _save_pyramid(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    cells, mask, turn, _, _, *ctx.settings = inputs
    ctx.size = cells.shape[1:3]
    ctx.save_for_backward(mask, turn)


def _pyramid_gradient(ctx: Any, grads: list[Tensor]) -> tuple[Tensor | None, ...]:
    op = torch.ops.quadview.merge
    return op(grads, None, *ctx.saved_tensors, *ctx.size, *ctx.settings), *[None] * 7


def _save_merge(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tokens, weight, mask, turn, _, _, *ctx.settings = inputs
    ctx.levels, ctx.heads = len(tokens), tokens[0].shape[1]
    ctx.save_for_backward(weight, mask, turn, *(() if weight is None else tokens))


def _merge_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    weight, mask, turn, *tokens = ctx.saved_tensors
    op = torch.ops.quadview.pyramid
    of_tokens: list[Tensor] = op(grad, mask, turn, ctx.heads, ctx.levels, *ctx.settings)
    of_weight: Tensor | None = None
    if weight is not None:
        pairs = zip(of_tokens, tokens, strict=True)
        of_weight = torch.stack([(g * x).sum(dtype=weight.dtype) for g, x in pairs])
        of_tokens = [g * w.to(g.dtype) for g, w in zip(of_tokens, weight, strict=True)]
    return of_tokens, of_weight, *[None] * 7


_pyramid.register_autograd(_pyramid_gradient, setup_context=_save_pyramid)
_merge.register_autograd(_merge_gradient, setup_context=_save_merge)
