"""Reading the raw pickles in which MegaDepth's scene indices are passed around, without risk.

A pickle may call anything that can be imported. This reader lets it rebuild numpy arrays and
nothing else, so a hostile file is an error rather than a program.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray


class ArrayMark:
    """Stands for np.ndarray, which itself would make arrays of any size when it is called."""


def empty_array(_kind: type, shape: tuple[int, ...], _code: bytes) -> np.ndarray:
    """What numpy's own pickles begin every array with; its state brings shape and bytes."""
    if tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"an array begins with the shape {shape} instead of (0,)")
    return np.empty(0, np.int8)


# Written by numpy 1 under `core`, by numpy 2 under `_core`.
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): ArrayMark,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): multiarray.scalar for core in ("core", "_core")},
}


MEMO_CODES = ("PUT", "BINPUT", "LONG_BINPUT")


class ArrayUnpickler(pickle.Unpickler):
    """Rebuilds plain values and numpy arrays; refuses every other name."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The numpy function that the pickle asks for, if it is one of the few."""
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}, which an index of arrays does not need"
            ) from None


def check_lengths(data: bytes) -> None:
    """Raises ValueError where a pickle promises more than it holds.

    The unpickler makes room for what a length or a number of its memo says before it reads on.
    """
    for opcode, value, position in pickletools.genops(data):
        # A memo has no more values than there were bytes so far, a frame no more bytes than the file.
        room = (position or 0) if opcode.name in MEMO_CODES else len(data)
        if opcode.name in (*MEMO_CODES, "FRAME") and int(value or 0) > room:
            raise ValueError(f"{opcode.name} of {value} at byte {position} of {len(data)}")


def read_index(path: Path) -> dict[str, Any]:
    """The dict pickled at `path`; ValueError where it is none or holds more than arrays."""
    try:
        data = path.read_bytes()
        check_lengths(data)  # which also refuses texts that are longer than the rest of the file
        index = ArrayUnpickler(io.BytesIO(data)).load()
    except FileNotFoundError:
        raise
    except Exception as error:  # broken bytes make the unpickler raise exceptions of every kind
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} must be a pickled dict of arrays, got: {line}; "
            "do not open it with numpy's allow_pickle unless you trust its source"
        ) from error
    if not isinstance(index, dict):
        raise ValueError(f"{path} must hold a pickled dict, got {type(index).__name__}")
    return index
