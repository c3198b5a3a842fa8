"""Which pairs of a folder of images are matched: all, neighbours in a sequence, or those of a list.

Images go by their path below the folder, with `/`; pairs are two numbers into the sorted names.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.untrusted import told_as

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
)
NO_PAIRS = np.zeros((0, 2), np.int32)
TILE = 32  # images; pairs of one tile against another come together, so their features stay cached


@dataclass(frozen=True)
class PairList:
    """Pairs of images, in the order in which they are matched."""

    names: tuple[str, ...]  # of images, below the folder
    pairs: np.ndarray  # (P, 2) int32 numbers into `names`, no pair twice

    def __len__(self) -> int:
        return len(self.pairs)

    def pair(self, number: int) -> tuple[str, str]:
        """Names of both images of one pair."""
        first, second = self.pairs[number]
        return self.names[first], self.names[second]


def image_names(folder: Path) -> tuple[str, ...]:
    """Every image file below `folder`, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of images; check the path")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = tuple(sorted(path.relative_to(folder).as_posix() for path in found))
    if not names:
        raise ValueError(
            f"{folder}: wanted image files ({', '.join(sorted(SUFFIXES))}), got none; name another folder"
        )
    return names


def exhaustive(names: Sequence[str]) -> PairList:
    """Every two images, N (N - 1) / 2 pairs, tile by tile."""
    count = len(names)
    first, second = np.triu_indices(count, 1)
    order = np.lexsort((second, first, second // TILE, first // TILE))
    return _pair_list(names, np.column_stack([first, second])[order])


def sequential(names: Sequence[str], reach: int) -> PairList:
    """Every image with each of the `reach` that follow it by name.

    Raises:
        ValueError: reach below 1.
    """
    if reach < 1:
        raise ValueError(f"--sequential must be 1 or more neighbours, got {reach}")
    count = len(names)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, min(i + reach, count - 1) + 1)]
    return _pair_list(names, np.array(pairs, np.int32).reshape(-1, 2))


def nearest(names: Sequence[str], neighbours: np.ndarray) -> PairList:
    """Every image with its neighbours (N, K), numbers of images, -1 for none; no pair both ways round."""
    first = np.repeat(np.arange(len(names)), neighbours.shape[1])
    second = neighbours.ravel()
    both = np.column_stack([first, second])[second >= 0]
    return _pair_list(names, np.unique(np.sort(both, axis=1), axis=0))


def listed(path: Path) -> PairList:
    """The pairs of a list: .json, a list of objects with image0 and image1; else two names a line.

    In text, names stand apart by a tab, or by blanks where there is no tab; `#` begins a comment line.
    A pair that comes twice is taken once.

    Raises:
        FileNotFoundError: no such list.
        ValueError: no such list, or an image paired with itself.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such list of pairs; check the path")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: wanted a list of pairs in UTF-8, got {error}") from error
    rows = _from_json(text, path) if path.suffix.lower() == ".json" else _from_text(text, path)
    rows = list(dict.fromkeys(rows))
    same = next((row for row in rows if row[0] == row[1]), None)
    if same is not None or not rows:
        got = "none" if same is None else f"{same[0]} with itself"
        raise ValueError(f"{path}: wanted pairs of two different images, got {got}")
    names = tuple(sorted({name for row in rows for name in row}))
    number = {name: n for n, name in enumerate(names)}
    return _pair_list(names, np.array([[number[a], number[b]] for a, b in rows]))


def _from_json(text: str, path: Path) -> list[tuple[str, str]]:
    with told_as(path, "a JSON list of pairs"):
        rows = json.loads(text)
    found = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        names = [row.get(key) if isinstance(row, dict) else None for key in ("image0", "image1")]
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError(
                f"{path}: pair {number} wants file names image0 and image1, got {names}"
            )
        found.append((str(names[0]), str(names[1])))
    return found


def _from_text(text: str, path: Path) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.strip().split("\t") if "\t" in line else line.split()
        if len(words) != 2:
            raise ValueError(
                f"{path}, line {number}: wanted two file names, got {len(words)} words; part names that "
                "hold blanks by a tab"
            )
        found.append((words[0], words[1]))
    return found


def _pair_list(names: Sequence[str], pairs: np.ndarray) -> PairList:
    return PairList(tuple(names), pairs.astype(np.int32))
