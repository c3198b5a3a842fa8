"""Pair lists in SuperGlue's text format.

One pair a line in 38 fields:

    image0 image1 rot0 rot1 K0 (9, row by row) K1 (9) T_0to1 (16)

K and T_0to1 belong to the image file as it is; rot counts the quarter turns, as of `np.rot90`, that make the image
upright. Images are turned, and cameras with them.
"""

from pathlib import Path

import numpy as np

from eval.image_source import ImageSource, TurnedImage, read_source
from eval.pairs import ImagePair, PoseTruth
from eval.readers.turned import turned_camera

FIELDS = 4 + 9 + 9 + 16


def read_superglue_list(path: Path, images: Path) -> list[ImagePair]:
    """The pairs of the list at `path`, in its order; image names are relative to `images`.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line of another form; names file and line.
    """
    lines = path.read_text().splitlines()
    return [_pair(line, f"{path}, line {n}", images) for n, line in enumerate(lines, 1) if line]


def _pair(line: str, where: str, images: Path) -> ImagePair:
    fields = line.split()
    if len(fields) != FIELDS:
        raise ValueError(f"{where}: wanted {FIELDS} fields, got {len(fields)}")
    name0, name1, *turns = fields[:4]
    if not set(turns) <= {"0", "1", "2", "3"}:
        raise ValueError(f"{where}: wanted rotations 0 to 3, got {' '.join(turns)}")
    try:
        numbers = np.array([float(field) for field in fields[4:]])
    except ValueError as error:
        raise ValueError(f"{where}: wanted {FIELDS - 4} numbers, got: {error}") from error
    T_0to1 = numbers[18:].reshape(4, 4)
    K0, image0, Z0 = _upright(numbers[:9].reshape(3, 3), images / name0, int(turns[0]))
    K1, image1, Z1 = _upright(numbers[9:18].reshape(3, 3), images / name1, int(turns[1]))
    truth = PoseTruth(K0, K1, Z1 @ T_0to1 @ np.linalg.inv(Z0))
    stem0, stem1 = (str(Path(name).with_suffix("")) for name in (name0, name1))
    return ImagePair(f"{stem0}--{stem1}", image0, image1, truth)


def _upright(K: np.ndarray, path: Path, turns: int) -> tuple[np.ndarray, ImageSource, np.ndarray]:
    """Intrinsics of the turned image, the image, and the turn (4, 4) of the camera."""
    if turns == 0:
        return K, path, np.eye(4)
    height, width = read_source(path).shape[:2]
    turned, turn = turned_camera(K, (height, width), turns)
    return turned, TurnedImage(path, turns), turn
