"""Pair lists in SuperGlue's text format.

One pair a line in 38 fields:

    image0 image1 rot0 rot1 K0 (9, row by row) K1 (9) T_0to1 (16)

K belongs to the image file as it is; rot counts quarter turns that make the image upright.
"""

from pathlib import Path

import numpy as np

from eval.pairs import ImagePair, PoseTruth

FIELDS = 4 + 9 + 9 + 16


def read_superglue_list(path: Path, images: Path) -> list[ImagePair]:
    """The pairs of the list at `path`, in its order; image names are relative to `images`.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line of another form, or one that asks for a rotation; names file and line.
    """
    lines = path.read_text().splitlines()
    return [_pair(line, f"{path}, line {n}", images) for n, line in enumerate(lines, 1) if line]


def _pair(line: str, where: str, images: Path) -> ImagePair:
    fields = line.split()
    if len(fields) != FIELDS:
        raise ValueError(f"{where}: wanted {FIELDS} fields, got {len(fields)}")
    name0, name1, *turns = fields[:4]
    # TODO(#4): turn the images upright; no list that we hold has a turn.
    if turns != ["0", "0"]:
        raise ValueError(f"{where}: wanted rotations 0 0, got {' '.join(turns)}")
    numbers = np.array([float(field) for field in fields[4:]])
    K0, K1 = numbers[:9].reshape(3, 3), numbers[9:18].reshape(3, 3)
    stem0, stem1 = (str(Path(name).with_suffix("")) for name in (name0, name1))
    truth = PoseTruth(K0, K1, numbers[18:].reshape(4, 4))
    return ImagePair(f"{stem0}--{stem1}", images / name0, images / name1, truth)
