"""Rows of a large table in HDF5, read one by one or many at once, without holding any.

Our tables lie in one piece in their file, and a row there is a row in numpy: a seek and a read give it, a
hundred times as fast as HDF5's conversion of compound types. A table that another program has rewritten
in chunks is read through HDF5.
"""

import io
from pathlib import Path

import h5py
import numpy as np


class TableRows:
    """A one-dimensional HDF5 dataset of rows in the file at `path`."""

    def __init__(self, table: h5py.Dataset, path: Path) -> None:
        self._table = table
        self._count = len(table)
        self._dtype: np.dtype = table.dtype
        self._start = table.id.get_offset()  # None where it is in chunks, or empty
        self._file: io.FileIO | None = None
        if self._start is not None:
            self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self._count

    def row(self, number: int) -> np.void:
        """Row `number`; negative ones count from the end. Raises IndexError past either end."""
        if not -self._count <= number < self._count:
            raise IndexError(
                f"wanted a row of {self._table.name} below {self._count}, got {number}"
            )
        number %= self._count
        return self.slice(number, number + 1)[0]

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` to before `stop`, as far as there are any."""
        start, stop, _ = slice(start, stop).indices(self._count)
        if self._file is None or self._start is None:
            return self._table[start:stop]
        self._file.seek(self._start + start * self._dtype.itemsize)
        wanted = max(0, stop - start) * self._dtype.itemsize
        data = self._file.read(wanted)
        if len(data) != wanted:
            raise ValueError(
                f"{self._file.name}: wanted {wanted} bytes of {self._table.name}, got {len(data)}; the "
                "file is cut off: convert the set again"
            )
        return np.frombuffer(data, self._dtype)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file that rows are read from."""
        if self._file is not None:
            self._file.close()
