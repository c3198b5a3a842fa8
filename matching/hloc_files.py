"""features.h5, matches.h5 and pairs.txt as hloc (Sarlin et al. 2019) reads them.

Key points have the centre of the top-left pixel at (0, 0), as hloc's own features; hloc itself adds the half
pixel that COLMAP wants.
"""

from pathlib import Path

import h5py
import numpy as np

from data_scripts.atomic import replacing, write_text
from matching.keypoint_merging import ImageKeypoints, IndexedPair, MergedScene

NO_MATCH = -1


def write_hloc(folder: Path, scene: MergedScene) -> tuple[Path, Path, Path]:
    """Writes the three files into `folder`, each whole or not at all; their paths.

    Raises:
        ValueError: two pairs would have one name in hloc, which writes `-` for `/`, or a name holds blanks.
    """
    _check_names(scene)
    folder.mkdir(parents=True, exist_ok=True)
    features, matches, pairs = (folder / n for n in ("features.h5", "matches.h5", "pairs.txt"))
    with replacing(features) as temporary, h5py.File(temporary, "w") as file:
        for name, image in scene.images.items():
            _write_features(file.create_group(name), image)
    with replacing(matches) as temporary, h5py.File(temporary, "w") as file:
        for pair in scene.pairs:
            count = len(scene.images[pair.image0].keypoints)
            _write_matches(file.create_group(pair_name(pair.image0, pair.image1)), pair, count)
    write_text(pairs, "".join(f"{pair.image0} {pair.image1}\n" for pair in scene.pairs))
    return features, matches, pairs


def pair_name(image0: str, image1: str) -> str:
    """The group of a pair in matches.h5: two levels, each the name of an image with `-` for `/`."""
    return f"{image0.replace('/', '-')}/{image1.replace('/', '-')}"


def _write_features(group: h5py.Group, image: ImageKeypoints) -> None:
    H, W = image.size
    group.create_dataset("keypoints", data=image.keypoints.astype(np.float32))
    group.create_dataset("score", data=image.score.astype(np.float32))
    group.create_dataset("image_size", data=np.array([W, H]))


def _write_matches(group: h5py.Group, pair: IndexedPair, count: int) -> None:
    """`matches0` has for every key point of image 0 the number of its partner, or NO_MATCH."""
    partner = np.full(count, NO_MATCH, np.int32)
    score = np.zeros(count, np.float16)
    partner[pair.index[:, 0]] = pair.index[:, 1]
    score[pair.index[:, 0]] = pair.confidence
    group.create_dataset("matches0", data=partner)
    group.create_dataset("matching_scores0", data=score)


def _check_names(scene: MergedScene) -> None:
    blank = next((name for name in scene.images if len(name.split()) != 1), None)
    if blank is not None:
        raise ValueError(f"{blank!r}: hloc's lists part names by blanks; rename the image")
    taken: dict[str, IndexedPair] = {}
    for pair in scene.pairs:
        for name in (pair_name(pair.image0, pair.image1), pair_name(pair.image1, pair.image0)):
            other = taken.setdefault(name, pair)
            if other is not pair:
                raise ValueError(
                    f"{pair.image0} and {pair.image1} have the name {name} in hloc, as have "
                    f"{other.image0} and {other.image1}; rename one of them"
                )
