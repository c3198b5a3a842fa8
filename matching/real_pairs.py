"""Labelled pairs of real images as training material: homography lists, ScanNet, MegaDepth.

They give the same `TwoView` as the synthetic pairs, so labels and losses are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_scripts import homography_list, megadepth, scannet
from data_scripts.dataset_views import converted_pairs, labelled_view
from data_scripts.photo_training import check_shares
from data_scripts.two_view import TwoView


@dataclass(frozen=True)
class RealPairSettings:
    """Where labelled pairs of real images lie, and how large a share of the training they are."""

    share: float = 0.5  # of the pairs, where any of the sets below is given
    long_side: int = 640  # images are shrunk to this before they are cropped
    homographies: tuple[Path, ...] = ()  # pairs.json files with image0, image1, H_0to1
    scannet: Path | None = None  # folder with SCENE/{color,depth,pose}
    scannet_pairs: Path | None = None  # its index (npz) of pairs
    scannet_intrinsics: Path | None = None  # its intrinsics.npz
    megadepth: Path | None = None  # folder that the paths in the scene files start from
    megadepth_scenes: tuple[Path, ...] = ()  # scene files (npz)
    converted: tuple[Path, ...] = ()  # .h5 sets of python -m data_scripts, upright and with labels

    def __post_init__(self) -> None:
        check_shares(share=self.share)
        if self.long_side < 1:
            raise ValueError(f"long_side must be 1 px or more, got {self.long_side}")


def real_pairs(settings: RealPairSettings) -> list[Callable[[], TwoView]]:
    """A reader for each labelled pair; empty where no set is given.

    Raises:
        ValueError: a set is given in part, or its index is broken.
        FileNotFoundError: an index that is not there.
    """
    readers: list[Callable[[], TwoView]] = []
    side = settings.long_side
    for path in settings.homographies:
        _check_files([path])
        readers += [
            partial(homography_list.read_pair, pair, side)
            for pair in homography_list.read_pairs(path)
        ]
    index, intrinsics = settings.scannet_pairs, settings.scannet_intrinsics
    if settings.scannet is not None:
        if index is None or intrinsics is None:
            raise ValueError("scannet must come with scannet_pairs and scannet_intrinsics")
        _check_files([index, intrinsics])
        readers += [
            partial(scannet.read_pair, settings.scannet, pair, side)
            for pair in scannet.read_pairs(index, intrinsics)
        ]
    if settings.megadepth is not None:
        if not settings.megadepth_scenes:
            raise ValueError("megadepth must come with megadepth_scenes")
        _check_files(settings.megadepth_scenes)
        for path in settings.megadepth_scenes:
            readers += [
                partial(megadepth.read_pair, settings.megadepth, pair, side)
                for pair in megadepth.read_pairs(path)
            ]
    return readers + converted_pairs(settings.converted, partial(labelled_view, long_side=side))


def _check_files(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"list of training pairs must be a file, got {path}: no file")
