"""Pair lists in JSON: a list of objects with image0, image1 and K0, K1, T_0to1 or H_0to1."""

from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.untrusted import read_json_rows, told_as
from eval.pairs import HomographyTruth, ImagePair, PoseTruth, Truth


def read_pairs_json(path: Path) -> list[ImagePair]:
    """The pairs that `path` lists, in its order; images lie beside it.

    Raises:
        FileNotFoundError: no such list.
        ValueError: not such a list; the message names file, pair and key.
    """
    rows = read_json_rows(path)
    with told_as(path, "a JSON list of pairs"):
        return [_pair(row, n, path) for n, row in enumerate(rows)]


def _pair(row: dict[str, Any], number: int, path: Path) -> ImagePair:
    where = f"{path}, pair {number}"
    names = [row.get(key) for key in ("image0", "image1")]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: wanted file names image0 and image1, got {names}")
    stem0, stem1 = (str(Path(name).with_suffix("")) for name in map(str, names))
    path0, path1 = (path.parent / str(name) for name in names)
    return ImagePair(f"{stem0}--{stem1}", path0, path1, _truth(row, where))


def _truth(row: dict[str, Any], where: str) -> Truth:
    if "H_0to1" in row:
        return HomographyTruth(_matrix(row, "H_0to1", 3, where))
    return PoseTruth(
        _matrix(row, "K0", 3, where),
        _matrix(row, "K1", 3, where),
        _matrix(row, "T_0to1", 4, where),
    )


def _matrix(row: dict[str, Any], key: str, size: int, where: str) -> np.ndarray:
    if key not in row:
        raise ValueError(f"{where}: wanted {key} ({size}, {size}), got keys {sorted(row)}")
    matrix = np.array(row[key], dtype=np.float64)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"{where}: {key} must be ({size}, {size}) and finite, got {matrix.shape}")
    return matrix
