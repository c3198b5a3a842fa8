"""The benchmarks: where the pairs lie, at which size they are matched, what is estimated and reported.

A benchmark is data; the loop over its pairs is in `eval.runner`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.estimators import Estimator
from eval.pairs import ImagePair
from eval.readers.pairs_json import read_pairs_json
from eval.readers.superglue_list import read_superglue_list

POSE_MAGSAC = Estimator("magsac", threshold_px=1.0)
POSE_RANSAC = Estimator("ransac", threshold_px=0.5, max_iterations=1000, focal="loftr")
HOMOGRAPHY_MAGSAC = Estimator("magsac", threshold_px=2.0)


@dataclass(frozen=True)
class Benchmark:
    """A set of pairs with the protocol to score them by."""

    name: str
    folder: str  # under the data folder
    read: Callable[[Path], list[ImagePair]]  # from that folder
    estimators: tuple[Estimator, ...]  # the first one is the number to quote
    thresholds: tuple[float, ...]  # of the AUC, in `unit`
    unit: str
    long_side: int = 800  # px; images are shrunk to it, never enlarged

    def pairs(self, data: Path) -> list[ImagePair]:
        """The pairs, from the folder that holds all data sets.

        Raises:
            FileNotFoundError: the data set is not there.
            ValueError: two pairs of the same name, or a list that cannot be read.
        """
        folder = data / self.folder
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; --data must name the folder that holds {self.folder}"
            )
        pairs = self.read(folder)
        if len({pair.name for pair in pairs}) < len(pairs):
            raise ValueError(f"{folder}: two pairs have the same name")
        return pairs

    def protocol(self, estimator: Estimator) -> str:
        """What a reader must know to compare the number with another one."""
        return f"images shrunk to long side {self.long_side}; {estimator} of the shrunk image"


def _pose(
    name: str, folder: str, read: Callable[[Path], list[ImagePair]] | None = None
) -> Benchmark:
    return Benchmark(
        name,
        folder,
        read or (lambda root: read_pairs_json(root / "pairs.json")),
        (POSE_MAGSAC, POSE_RANSAC),
        (5, 10, 20),
        "deg",
    )


def _homography(name: str, folder: str) -> Benchmark:
    return Benchmark(
        name,
        folder,
        lambda root: read_pairs_json(root / "pairs.json"),
        (HOMOGRAPHY_MAGSAC,),
        (1, 3, 5, 10),
        "px",
    )


def _read_scannet_sample(folder: Path) -> list[ImagePair]:
    return read_superglue_list(folder / "pairs_with_gt.txt", folder / "images")


# TODO(#4): scannet1500, megadepth1500, hpatches and the stereo sets.
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        _pose("strecha", "pose/strecha"),
        _pose("7scenes", "pose/7scenes_redkitchen"),
        _pose("scannet-sample", "pose/scannet_sample", _read_scannet_sample),
        _homography("graf", "homography/opencv_graf"),
        _homography("oxford", "homography/oxford"),
    )
}
