"""Rows of a large table in HDF5, read block by block: few reads when walked, little memory ever."""

from collections import OrderedDict

import h5py
import numpy as np

BLOCK_ROWS = 1024
KEPT_BLOCKS = 16


class TableBlocks:
    """A one-dimensional HDF5 dataset of rows, of which a few blocks are held."""

    def __init__(self, table: h5py.Dataset) -> None:
        self._table = table
        self._count = len(table)
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def row(self, number: int) -> np.void:
        """Row `number`; negative ones count from the end. Raises IndexError past either end."""
        if not -self._count <= number < self._count:
            raise IndexError(
                f"wanted a row of {self._table.name} below {self._count}, got {number}"
            )
        block, offset = divmod(number % self._count, BLOCK_ROWS)
        return self._block(block)[offset]

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` to before `stop`."""
        return self._table[start:stop]

    def _block(self, number: int) -> np.ndarray:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        rows = self._table[number * BLOCK_ROWS : (number + 1) * BLOCK_ROWS]
        self._blocks[number] = rows
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return rows
