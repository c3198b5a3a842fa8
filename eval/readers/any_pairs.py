"""Pairs that a user brings: a list beside the images, or the folder that holds both."""

from pathlib import Path

from eval.pairs import HomographyTruth, ImagePair, PoseTruth
from eval.readers.converted import read_converted
from eval.readers.pairs_json import read_pairs_json
from eval.readers.superglue_list import read_superglue_list
from eval.set_place import is_converted

WANTED = "pairs.json, a text list in SuperGlue's format (*.txt) or a converted .h5 file"


def read_any_poses(place: Path) -> list[ImagePair]:
    """Pairs with known cameras: a list, or a folder with pairs.json or one *.txt in it.

    Raises:
        FileNotFoundError: no list.
        ValueError: a list of another form, or pairs with homographies.
    """
    return _of_kind(place, PoseTruth, "K0, K1 and T_0to1", "homography")


def read_any_homographies(place: Path) -> list[ImagePair]:
    """The same for pairs with known homographies."""
    return _of_kind(place, HomographyTruth, "H_0to1", "pairs")


def _of_kind(place: Path, kind: type, keys: str, other: str) -> list[ImagePair]:
    pairs = _read(place)
    wrong = [pair for pair in pairs if not isinstance(pair.truth, kind)]
    if wrong:
        raise ValueError(
            f"{place}: wanted pairs with {keys}, got another truth for {len(wrong)} of {len(pairs)}; "
            f"use the benchmark {other} for those"
        )
    return pairs


def _read(place: Path) -> list[ImagePair]:
    if is_converted(place):
        return read_converted(place)
    if place.suffix == ".json":
        return read_pairs_json(place)
    if place.suffix == ".txt":
        images = place.parent / "images"
        return read_superglue_list(place, images if images.is_dir() else place.parent)
    if (place / "pairs.json").is_file():
        return read_pairs_json(place / "pairs.json")
    lists = sorted(place.glob("*.txt")) if place.is_dir() else []
    if len(lists) != 1:
        raise FileNotFoundError(
            f"{place}: wanted {WANTED}, got {len(lists)} text files; name the list itself"
        )
    return _read(lists[0])
