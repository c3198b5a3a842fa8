"""Labelled pairs of real and rendered sets as training material: SceneFlow, KITTI, Middlebury.

They give the same `RectifiedPair` as the synthetic pairs, so labels and losses are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from data_scripts import kitti, middlebury, sceneflow
from data_scripts.dataset_views import converted_pairs, labelled_rectified
from data_scripts.photo_training import check_shares
from data_scripts.rectified import RectifiedPair


@dataclass(frozen=True)
class RealPairSettings:
    """Where labelled sets lie, and how large a share of the training they are."""

    share: float = 0.5  # of the pairs, where any of the sets below is given
    long_side: int = 1280  # images are shrunk to this before a window is cut
    sceneflow: tuple[Path, ...] = ()  # folders that hold disparity/ and frames_*pass/
    sceneflow_pass: Literal["clean", "final"] = "final"
    kitti: tuple[Path, ...] = ()  # folders training/ of KITTI 2012 and 2015
    middlebury: tuple[Path, ...] = ()  # folders of scenes; ETH3D has the same layout
    converted: tuple[Path, ...] = ()  # .h5 sets of python -m data_scripts

    def __post_init__(self) -> None:
        check_shares(share=self.share)
        if self.long_side < 1:
            raise ValueError(f"long_side must be 1 px or more, got {self.long_side}")


def real_pairs(settings: RealPairSettings) -> list[Callable[[], RectifiedPair]]:
    """A reader for each labelled pair; empty where no set is given.

    Raises:
        FileNotFoundError: a folder is not there or holds no such set; the message says what it must hold.
    """
    readers: list[Callable[[], RectifiedPair]] = []
    for root in settings.sceneflow:
        found = sceneflow.find_pairs(_folder(root), settings.sceneflow_pass)
        readers += [partial(sceneflow.read_pair, files) for files in found]
    for root in settings.kitti:
        readers += [partial(kitti.read_pair, files) for files in kitti.find_pairs(_folder(root))]
    for root in settings.middlebury:
        scenes = middlebury.find_pairs(_folder(root))
        readers += [partial(middlebury.read_pair, files) for files in scenes]
    return readers + converted_pairs(settings.converted, labelled_rectified)


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"labelled pairs must lie in a folder, got {root}: no folder")
    return root
