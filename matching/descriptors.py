"""Descriptors of all images of a run, kept in files, and the pairs that they suggest."""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from data_scripts.atomic import replacing
from data_scripts.attempts import FailedPair
from matching.feature_store import FeatureStore
from matching.network import ImageFeatures
from matching.pair_lists import PairList, nearest
from matching.retrieval import gem_descriptor, nearest_images

CHUNK = 64  # images of one file; at most so many are lost by a kill


def retrieved_pairs(
    store: FeatureStore,
    names: Sequence[str],
    folder: Path,
    count: int,
    done: Callable[[int], object],
    *,
    retry: bool = False,
) -> tuple[PairList, dict[str, str]]:
    """Every image with the `count` images nearest to it, and images that could not be read, with why.

    Args:
        store: of features.
        names: of all images.
        folder: of the descriptors; those that lie there are not made again.
        count: neighbours of each image.
        done: told of the images that are done, by how many.
        retry: make again the files in which an image failed.
    """
    vectors, errors = described(store, names, folder, done, retry=retry)
    neighbours = nearest_images(vectors, count)
    bad = {name: error for name, error in zip(names, errors, strict=True) if error}
    return nearest(names, neighbours), bad


def described(
    store: FeatureStore,
    names: Sequence[str],
    folder: Path | None,
    done: Callable[[int], object],
    *,
    retry: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """Descriptor of every image (N, C), zeros where it could not be read, and why, "" where it could."""
    vectors: list[np.ndarray] = []
    errors: list[str] = []
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        path = None if folder is None else folder / f"{start // CHUNK:08d}.h5"
        kept = None if path is None else _read(path, len(part))
        if kept is None or (retry and any(kept[1])):
            kept = _describe(store, part)
            if path is not None:
                _write(path, *kept)
        vectors.append(kept[0])
        errors += kept[1]
        done(len(part))
    width = max((part.shape[1] for part in vectors), default=0)
    # A chunk of bad images alone does not know how long descriptors are.
    full = [part if part.shape[1] else np.zeros((len(part), width), np.float32) for part in vectors]
    return np.concatenate(full), errors


def _describe(store: FeatureStore, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    found = [_descriptor(store.get(name), store) for name in names]
    width = max((len(each) for each in found if not isinstance(each, FailedPair)), default=0)
    nothing = np.zeros(width, np.float32)
    vectors = [nothing if isinstance(each, FailedPair) else each for each in found]
    errors = [each.error if isinstance(each, FailedPair) else "" for each in found]
    return np.stack(vectors), errors


def _descriptor(found: ImageFeatures | FailedPair, store: FeatureStore) -> np.ndarray | FailedPair:
    if isinstance(found, FailedPair):
        return found
    return gem_descriptor(found.features[0], store.corrected_encoding)


def _read(path: Path, count: int) -> tuple[np.ndarray, list[str]] | None:
    """What a file holds, None where none is there that fits."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path) as file:
            vectors, errors = file["descriptor"][()], [e.decode() for e in file["error"][()]]
    except (OSError, KeyError, ValueError):
        return None
    return (vectors, errors) if len(vectors) == len(errors) == count else None


def _write(path: Path, vectors: np.ndarray, errors: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("descriptor", data=vectors)
        file.create_dataset("error", data=errors, dtype=h5py.string_dtype("utf-8"))
