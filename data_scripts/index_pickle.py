"""Reading the raw pickles in which MegaDepth's scene indices are passed around, without risk.

A pickle may call anything that can be imported. This reader lets it rebuild numpy arrays and
nothing else, so a hostile file is an error rather than a program.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

KINDS = re.compile(r"[biufcSUO]\d{1,8}")  # plain ones, as numpy names a dtype in a pickle
# Bytes of values made of one byte: a None takes 1 in the file and 8 in an array of objects.
ROOM = 16
MEMO_CODES = ("PUT", "BINPUT", "LONG_BINPUT")


class Kind:
    """A dtype; its state brings the byte order."""

    def __init__(self, name: str, *_: bool) -> None:
        if not isinstance(name, str) or not KINDS.fullmatch(name):
            raise pickle.UnpicklingError(f"it asks for the dtype {str(name)[:40]!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, inner, names, *_ = state
        if inner is not None or names is not None:
            raise pickle.UnpicklingError("it asks for a dtype of several parts")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class FilledArray(np.ndarray[Any, np.dtype[Any]]):
    """An array that begins empty; its state brings all. `spend` is told how much memory that takes."""

    spend: Callable[[int], None]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, fortran, values = state
        size = math.prod(shape) if min(shape, default=0) >= 0 else -1
        wanted = size if kind.dtype.hasobject else size * kind.dtype.itemsize
        if len(values) != wanted:
            raise pickle.UnpicklingError(f"an array of {wanted} has {len(values)}")
        self.spend(8 * size if kind.dtype.hasobject else wanted)
        del self.spend
        super().__setstate__((version, tuple(shape), kind.dtype, fortran, values))

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()


class ArrayUnpickler(pickle.Unpickler):
    """Rebuilds plain values and numpy arrays; refuses every other name.

    A pickle can ask for the same values again and again, so that a short one takes much memory; all that is
    made of them here is bounded by `ROOM` times its length.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._left = ROOM * len(data)
        self._allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): "ndarray",  # which itself would make arrays of any size
            ("numpy", "dtype"): self._dtype,
            ("_codecs", "encode"): self._encoded,  # bytes, below protocol 3
            ("__builtin__", "bytes"): self._no_bytes,
        }
        for core in ("numpy.core", "numpy._core"):  # of numpy 1 and 2
            self._allowed |= {
                (f"{core}.multiarray", "_reconstruct"): self._empty_array,
                (f"{core}.multiarray", "scalar"): self._scalar,
                (f"{core}.numeric", "_frombuffer"): self._from_buffer,  # arrays, from protocol 5
            }

    def find_class(self, module_name: str, global_name: str) -> Any:
        """What stands for the numpy function that the pickle asks for, if it is one of the few."""
        try:
            return self._allowed[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}, which an index of arrays does not need"
            ) from None

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("it asks for far more memory than its length")

    def _dtype(self, name: str, *flags: bool) -> Kind:
        return Kind(name, *flags)

    def _empty_array(self, _kind: str, shape: tuple[int, ...], _code: bytes) -> FilledArray:
        if tuple(shape) != (0,):
            raise pickle.UnpicklingError(f"an array begins with the shape {shape} instead of (0,)")
        array = np.empty(0, np.int8).view(FilledArray)
        array.spend = self._spend
        return array

    def _scalar(self, kind: Kind, value: bytes) -> Any:
        if kind.dtype.hasobject or len(value) != kind.dtype.itemsize:
            raise pickle.UnpicklingError(f"one {kind.dtype} has {len(value)} bytes")
        self._spend(len(value))
        return multiarray.scalar(kind.dtype, value)

    def _from_buffer(
        self,
        values: bytes | bytearray,
        kind: Kind,
        shape: tuple[int, ...],
        order: Any,
        axes: Any = None,
    ) -> np.ndarray:
        array = np.frombuffer(values, kind.dtype)  # a view, and so is what follows
        if axes is None:
            return array.reshape(shape, order=order)
        return array.reshape(shape).transpose(axes)

    def _encoded(self, text: str, coding: str) -> bytes:
        if coding != "latin1":
            raise pickle.UnpicklingError(f"bytes come as latin1, got {coding[:40]!r}")
        self._spend(len(text))
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""


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
        index = ArrayUnpickler(data).load()
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
