"""The compiled tree ops: calls qv_pyramid and qv_merge of the library that `native` loads."""

import ctypes

import torch
from torch import Tensor

from attention_ops import native
from attention_ops.trees import Fan, Grid

MAX_LEVELS = 16  # kMaxLevels in csrc/tree.h


class _TreeCall(ctypes.Structure):
    """The same fields in the same order as `TreeCall` in csrc/call.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("B", "H", "W", "M", "D")),
        *((name, ctypes.c_int64) for name in ("levels", "fan_rows", "fan_columns")),
        *((name, ctypes.c_int64) for name in ("mean", "bfloat16", "threads")),
        *((name, ctypes.c_void_p) for name in ("cells", "tokens", "mask", "turn", "weight")),
    )


def serves(tensor: Tensor, levels: int) -> bool:
    """Whether the library takes such cells or tokens."""
    return tensor.device.type == "cpu" and tensor.dtype in native.DTYPES and levels <= MAX_LEVELS


def pyramid(
    cells: Tensor,
    mask: Tensor | None,
    turn: Tensor | None,
    heads: int,
    levels: int,
    fan: Fan,
    mean: bool,
) -> list[Tensor]:
    """As `trees.pyramid_of`."""
    B, H, W, C = cells.shape
    sizes = Grid(H, W, levels, fan).tokens
    tokens = [cells.new_empty(B, heads, size, C // heads) for size in sizes]
    call = _TreeCall(B=B, H=H, W=W, M=heads, D=C // heads)
    _run("qv_pyramid", call, cells.contiguous(), tokens, mask, turn, None, fan, mean)
    return tokens


def merge(
    tokens: list[Tensor],
    weight: Tensor | None,
    mask: Tensor | None,
    turn: Tensor | None,
    size: tuple[int, int],
    fan: Fan,
    mean: bool,
) -> Tensor:
    """As `trees.merged`."""
    B, M, _, D = tokens[0].shape
    cells = tokens[0].new_empty(B, *size, M * D)
    call = _TreeCall(B=B, H=size[0], W=size[1], M=M, D=D)
    tokens = [level.contiguous() for level in tokens]
    _run("qv_merge", call, cells, tokens, mask, turn, weight, fan, mean)
    return cells


def _run(
    name: str,
    call: _TreeCall,
    cells: Tensor,
    tokens: list[Tensor],
    mask: Tensor | None,
    turn: Tensor | None,
    weight: Tensor | None,
    fan: Fan,
    mean: bool,
) -> None:
    library = native.library()
    addresses = (ctypes.c_void_p * len(tokens))(*(level.data_ptr() for level in tokens))
    mask = None if mask is None else mask.contiguous()
    turn = None if turn is None else turn.float().contiguous()
    weight = None if weight is None else weight.float().contiguous()
    call.levels, call.mean = len(tokens), mean
    call.fan_rows, call.fan_columns = fan
    call.bfloat16 = cells.dtype == torch.bfloat16
    call.threads = torch.get_num_threads()
    call.cells, call.tokens = cells.data_ptr(), ctypes.addressof(addresses)
    call.mask = 0 if mask is None else mask.data_ptr()
    call.turn = 0 if turn is None else turn.data_ptr()
    call.weight = 0 if weight is None else weight.data_ptr()
    if not cells.numel():
        return
    floats = library.qv_tree_floats(ctypes.byref(call))
    scratch = torch.empty(floats, dtype=torch.float32)
    getattr(library, name)(ctypes.byref(call), ctypes.c_void_p(scratch.data_ptr()))
