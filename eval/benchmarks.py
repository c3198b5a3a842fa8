"""The benchmarks of matching: where the pairs lie, at which size they are matched, what is reported.

A benchmark is data; the loop over its pairs is in `eval.runner`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.estimators import Estimator
from eval.pairs import ImagePair
from eval.readers.any_pairs import read_any_homographies, read_any_poses
from eval.readers.converted import read_converted, read_converted_scannet
from eval.readers.hpatches import read_converted_hpatches, read_hpatches
from eval.readers.megadepth1500 import read_megadepth1500
from eval.readers.pairs_json import read_pairs_json
from eval.readers.scannet1500 import read_scannet1500
from eval.readers.superglue_list import read_superglue_list
from eval.resized import Sizing
from eval.scores import Pixels
from eval.set_place import check_names, find_set, is_converted

POSE_MAGSAC = Estimator("magsac", threshold_px=1.0)
POSE_RANSAC = Estimator("ransac", threshold_px=0.5, max_iterations=1000, focal="loftr")
POSE_SUPERGLUE = Estimator("ransac", threshold_px=1.0, max_iterations=1000, focal="loftr")
# The settings of glue-factory's tables: PoseLib's own, with 2 px.
POSE_LO = Estimator("poselib", threshold_px=2.0, confidence=0.9999, max_iterations=100_000)
HOMOGRAPHY_MAGSAC = Estimator("magsac", threshold_px=2.0)
# OpenCV's own defaults, which LoFTR and its successors leave as they are.
HOMOGRAPHY_RANSAC = Estimator("ransac", threshold_px=3.0, confidence=0.995, max_iterations=2000)
HOMOGRAPHY_LO = Estimator("poselib", threshold_px=3.0, confidence=0.9999, max_iterations=100_000)
LONG_800 = Sizing("long side", 800)


@dataclass(frozen=True)
class Benchmark:
    """A set of pairs with the protocol to score them by."""

    name: str
    folder: str  # under the folder that holds all data sets
    read: Callable[[Path], Sequence[ImagePair]]  # from that folder, in the original layout
    estimators: tuple[Estimator, ...]  # the first one is the number to quote
    thresholds: tuple[float, ...]  # of the AUC, in `unit`
    unit: str  # deg: pose, px: homography
    sizing: Sizing = LONG_800
    pixels: Pixels = "resized"  # what thresholds and corner errors are counted in
    repeats: int = 1
    max_matches: int | None = None  # the most confident ones; None: all
    read_h5: Callable[[Path], Sequence[ImagePair]] = read_converted  # from a converted file
    anywhere: bool = True  # whether the data folder may be the folder of the set itself
    source: str = ""  # what the protocol follows, and in what it differs
    published: str = ""  # table of eval/published.toml

    def pairs(self, data: Path) -> list[ImagePair]:
        """The pairs, from the folder of the set or from the one that holds all sets.

        Raises:
            FileNotFoundError: the data set is not there.
            ValueError: two pairs of the same name, or a list that cannot be read.
        """
        folder = self.find(data)
        pairs = list((self.read_h5 if is_converted(folder) else self.read)(folder))
        check_names(folder, [pair.name for pair in pairs])
        return pairs

    def find(self, data: Path) -> Path:
        """The folder (or converted file) of the set: `data` itself, or what it holds."""
        return find_set(data, self.folder, anywhere=self.anywhere)

    def protocol(self, estimator: Estimator) -> str:
        """What a reader must know to compare the number with another one."""
        kept = f"; the {self.max_matches} most confident matches" if self.max_matches else ""
        return (
            f"{self.sizing}; {estimator} of the {self.pixels} image; {self.repeats} repeats{kept}"
        )


def _pose(name: str, folder: str, read: Callable[[Path], list[ImagePair]]) -> Benchmark:
    estimators = (POSE_MAGSAC, POSE_RANSAC)
    return Benchmark(name, folder, read, estimators, (5, 10, 20), "deg", anywhere=False)


def _homography(name: str, folder: str) -> Benchmark:
    estimators = (HOMOGRAPHY_MAGSAC,)
    return Benchmark(name, folder, _list, estimators, (1, 3, 5, 10), "px", anywhere=False)


def _list(folder: Path) -> list[ImagePair]:
    return read_pairs_json(folder / "pairs.json")


def _superglue(folder: Path) -> list[ImagePair]:
    lists = sorted(folder.glob("*pairs_with_gt.txt"))
    if not lists:
        raise FileNotFoundError(
            f"{folder}: wanted a list *pairs_with_gt.txt in SuperGlue's format, got none; it comes "
            "with the repository of SuperGlue"
        )
    images = folder / "images"
    return read_superglue_list(lists[0], images if images.is_dir() else folder)


DEV = {
    benchmark.name: benchmark
    for benchmark in (
        _pose("strecha", "pose/strecha", _list),
        _pose("7scenes", "pose/7scenes_redkitchen", _list),
        _pose("scannet-sample", "pose/scannet_sample", _superglue),
        _homography("graf", "homography/opencv_graf"),
        _homography("oxford", "homography/oxford"),
    )
}

SCANNET_SIZE = Sizing("exact", (480, 640), filter="linear")
POSE_PROTOCOLS = (POSE_RANSAC, POSE_LO, POSE_MAGSAC)
HOMOGRAPHY_PROTOCOLS = (HOMOGRAPHY_RANSAC, HOMOGRAPHY_LO, HOMOGRAPHY_MAGSAC)

SCANNET1500 = Benchmark(
    "scannet1500",
    "pose/scannet_test_1500",
    read_scannet1500,
    POSE_PROTOCOLS,
    (5, 10, 20),
    "deg",
    SCANNET_SIZE,
    repeats=5,
    read_h5=read_converted_scannet,
    source="LoFTR (Sun et al. 2021): 640 x 480, intrinsics of the index, RANSAC 0.5 px; colour is given "
    "to the method, which may make it grey. LO-RANSAC as in glue-factory",
    published="scannet1500",
)
MEGADEPTH1500 = Benchmark(
    "megadepth1500",
    "pose/megadepth_test_1500",
    read_megadepth1500,
    POSE_PROTOCOLS,
    (5, 10, 20),
    "deg",
    Sizing("long side", 840, multiple=8, enlarge=True, filter="linear"),
    pixels="original",
    repeats=5,
    source="LoFTR: long side 840, sides multiples of 8, RANSAC 0.5 px of the original image; not padded "
    "to a square, and intrinsics moved by half a pixel from COLMAP's corner to pixel centres",
    published="megadepth1500",
)
HPATCHES = Benchmark(
    "hpatches",
    "homography/hpatches",
    read_hpatches,
    HOMOGRAPHY_PROTOCOLS,
    (1, 3, 5, 10),
    "px",
    Sizing("short side", 480, enlarge=True, filter="linear"),
    repeats=5,
    max_matches=1000,
    read_h5=read_converted_hpatches,
    source="LoFTR's paper (section 4.1): 108 sequences, 540 pairs, short side 480, at most 1000 matches, "
    "RANSAC 3 px, mean corner distance",
    published="hpatches",
)
BENCHMARKS = DEV | {
    benchmark.name: benchmark
    for benchmark in (
        SCANNET1500,
        MEGADEPTH1500,
        replace(
            SCANNET1500,
            name="scannet-sample",
            folder="pose/scannet_sample",
            read=_superglue,
            read_h5=read_converted,
            estimators=(POSE_RANSAC, POSE_SUPERGLUE, POSE_LO, POSE_MAGSAC),
            source="SuperGlue's list format; 640 x 480; RANSAC 0.5 px is LoFTR's protocol, 1 px is "
            "SuperGlue's; intrinsics scaled with pixel centres at whole numbers",
            published="scannet-sample",
        ),
        Benchmark(
            "pairs",
            "",
            read_any_poses,
            POSE_PROTOCOLS,
            (5, 10, 20),
            "deg",
            repeats=5,
            source="pairs.json, SuperGlue's text list or a converted HDF5 file",
        ),
        HPATCHES,
        Benchmark(
            "homography",
            "",
            read_any_homographies,
            HOMOGRAPHY_PROTOCOLS,
            (1, 3, 5, 10),
            "px",
            repeats=5,
            source="pairs.json with H_0to1, or a converted HDF5 file",
        ),
    )
}
