"""Reading the raw pickles in which MegaDepth's scene indices are passed around, without risk.

A pickle may call anything that can be imported. This reader lets it rebuild numpy arrays and
nothing else, so a hostile file is an error rather than a program.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

# Written by numpy 1 under `core`, by numpy 2 under `_core`.
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", name): getattr(multiarray, name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
}


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


def read_index(path: Path) -> dict[str, Any]:
    """The dict pickled at `path`; ValueError where it is none or holds more than arrays."""
    with path.open("rb") as file:
        try:
            index = ArrayUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError) as error:
            raise ValueError(
                f"{path} must be a pickled dict of arrays, got: {error}; "
                "do not open it with numpy's allow_pickle unless you trust its source"
            ) from error
    if not isinstance(index, dict):
        raise ValueError(f"{path} must hold a pickled dict, got {type(index).__name__}")
    return index
