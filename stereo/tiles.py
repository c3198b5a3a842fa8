"""Large pairs in pieces: where the pieces lie, and how their answers become one map.

Rows need little of each other, so bands of rows overlap by a few. A match lies to the left, so of a piece
that begins inside the image the left part may lack its matches: that part comes from the piece before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ROW_OVERLAP = 48  # px, at least: twice what a pixel's answer needs above and below, and the ramp
RAMP = 16  # px over which a piece takes over from the one before


@dataclass(frozen=True)
class Piece:
    """One piece along one axis."""

    start: int
    stop: int
    share: np.ndarray  # (stop - start,) float32: its weight against the pieces before it


def pieces(length: int, size: int, overlap: int, lost: int) -> list[Piece]:
    """Pieces of `size` that cover `length`, the last one flush with the end.

    Args:
        length: of the axis, px.
        size: of a piece; where the axis is no longer, it is the only one.
        overlap: of neighbours, px, at least `lost` + RAMP; the last one's may be larger.
        lost: at the start of every piece but the first, px that are taken from the piece before.
    """
    if size >= length:
        return [Piece(0, length, np.ones(length, np.float32))]
    starts = [*range(0, length - size, size - overlap), length - size]
    later = ((np.arange(size) - lost + 0.5) / RAMP).clip(0, 1).astype(np.float32)
    shares = [np.ones(size, np.float32), *[later] * (len(starts) - 1)]
    return [Piece(start, start + size, share) for start, share in zip(starts, shares, strict=True)]


def row_pieces(height: int, rows: int) -> list[Piece]:
    """Bands of `rows`; both sides of a cut lack the same, so it is in the middle of the overlap."""
    overlap = min(ROW_OVERLAP, rows // 2)
    return pieces(height, rows, overlap, (overlap - RAMP) // 2)


def column_pieces(width: int, columns: int) -> list[Piece]:
    """Pieces of `columns`, which find disparities up to half of that less the ramp."""
    overlap = columns // 2
    return pieces(width, columns, overlap, overlap - RAMP)


def in_pieces(
    answer: Callable[[slice, slice], np.ndarray], size: tuple[int, int], tile: tuple[int, int]
) -> np.ndarray:
    """Maps (P, h, w) put together from those that `answer` gives for rows and columns.

    Args:
        answer: from slices of rows and columns to maps (P, rows, columns).
        size: (h, w).
        tile: rows and columns of a piece.
    """
    across = column_pieces(size[1], tile[1])

    def band(rows: slice) -> np.ndarray:
        return _joined(across, lambda columns: answer(rows, columns), axis=2)

    return _joined(row_pieces(size[0], tile[0]), band, axis=1)


def _joined(parts: Sequence[Piece], make: Callable[[slice], np.ndarray], axis: int) -> np.ndarray:
    """What `make` gives for each part, (P, h, w), each laid over those before it by its share."""
    if len(parts) == 1:
        return make(slice(parts[0].start, parts[0].stop))
    whole: np.ndarray | None = None
    for part in parts:
        found = np.moveaxis(make(slice(part.start, part.stop)), axis, -1)
        if whole is None:
            whole = np.zeros((*found.shape[:-1], parts[-1].stop), np.float32)
        under = whole[..., part.start : part.stop]
        under += part.share * (found - under)
    assert whole is not None  # an axis has at least one piece
    return np.moveaxis(whole, -1, axis)
