"""The benchmarks of stereo: where the pairs lie, which pixels count, which mean is quoted.

A benchmark is data; the loop over its pairs is in `eval.stereo`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from eval.conventions import SCENEFLOW, Convention
from eval.readers.converted_stereo import ConvertedRule, read_converted_stereo
from eval.readers.stereo_pairs import read_any_disparities
from eval.readers.stereo_sets import (
    HALF_WEIGHT,
    read_eth3d,
    read_kitti,
    read_middlebury,
    read_sceneflow,
)
from eval.set_place import check_names, find_set, is_converted
from eval.stereo_pairs import StereoPair

Reader = Callable[[Path], Sequence[StereoPair]]
Region = Literal["all", "noc", "occ", "foreground", "background"]
REGIONS: tuple[Region, ...] = ("all", "noc", "occ")
ANY_RULE = ConvertedRule()
KITTI_RULE = ConvertedRule(covered_known=False)


@dataclass(frozen=True)
class StereoBenchmark:
    """A set of rectified pairs with the protocol to score them by."""

    name: str
    folder: str  # under the folder that holds all data sets
    read: Reader  # from that folder, in the original layout
    quoted: str  # the figure that the set is known by
    primary: Region = "noc"  # what the lines of single pairs show
    regions: tuple[Region, ...] = REGIONS
    max_disp: float | None = None  # px: larger true disparities are left out; None: no limit
    clip: bool = False  # whether predictions are clipped to [0, ndisp] of the scene
    weighted: bool = False  # whether scenes have Middlebury's weights in the mean of images
    conventions: tuple[Convention, ...] = ()
    rule: ConvertedRule = ANY_RULE  # of converted files
    anywhere: bool = True  # whether the data folder may be the folder of the set itself
    source: str = ""
    published: str = ""

    def pairs(self, data: Path) -> list[StereoPair]:
        """The pairs, from the folder of the set or from the one that holds all sets.

        Raises:
            FileNotFoundError: the data set is not there.
            ValueError: a list that cannot be read, no pair, or two pairs of the same name.
        """
        folder = self.find(data)
        converted = is_converted(folder)
        found = read_converted_stereo(folder, self.rule) if converted else self.read(folder)
        pairs = list(found)
        if not self.weighted:
            pairs = [replace(pair, weight=1.0) for pair in pairs]
        elif converted:
            pairs = [replace(pair, weight=_weight(pair)) for pair in pairs]
        check_names(folder, [pair.name for pair in pairs])
        return pairs

    def find(self, data: Path) -> Path:
        """The folder (or converted file) of the set: `data` itself, or what it holds."""
        return find_set(data, self.folder, anywhere=self.anywhere)


def _weight(pair: StereoPair) -> float:
    return 0.5 if HALF_WEIGHT.intersection(Path(pair.name).parts) else 1.0


STEREO_BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        StereoBenchmark(
            "stereo",
            "stereo/pairs",
            read_any_disparities,
            "EPE and bad 2 of visible pixels, mean of images",
            anywhere=False,
            source="development pairs; visible by nocc.png, and where there is none (Aloe, KITTI) every "
            "known pixel whose match lies inside the right image",
        ),
        StereoBenchmark(
            "disparity",
            "stereo/pairs",
            read_any_disparities,
            "EPE and bad 2 of visible pixels, mean of images",
            source="index.json (see docs/benchmarks.md) or a converted HDF5 file",
        ),
        StereoBenchmark(
            "sceneflow",
            "stereo/layouts/SCENE_FLOW",
            lambda root: _both_passes(root),
            "EPE by a named convention",
            primary="all",
            conventions=SCENEFLOW,
            rule=ConvertedRule(border=True, by_group=True),
            source="FlyingThings3D TEST where there is such a folder, else every pair found; final and clean "
            "pass apart; visible by STTR's rules (occlusion mask, inside both images, 0 < d <= width)",
            published="sceneflow",
        ),
        StereoBenchmark(
            "kitti2012",
            "stereo/layouts/KITTI_2012",
            read_kitti,
            "bad 3 (Out-Noc, Out-All) per pixel; 2, 3 and 4 px are here, 5 px is not",
            primary="noc",
            regions=("all", "noc"),
            rule=KITTI_RULE,
            source="training set; errors above 3 px without a relative part, pixels of all images pooled",
            published="kitti2012",
        ),
        StereoBenchmark(
            "kitti2015",
            "stereo/layouts/KITTI_2015",
            read_kitti,
            "D1 of all pixels, per pixel",
            primary="all",
            regions=("all", "noc", "foreground", "background"),
            rule=KITTI_RULE,
            source="training set; D1 = above 3 px and above 5 % of the truth, pixels of all images pooled; "
            "D1-fg and D1-bg by obj_map where it is there; no pixel is interpolated, one without a "
            "prediction is wrong",
            published="kitti2015",
        ),
        StereoBenchmark(
            "middlebury",
            "stereo/layouts/MIDDLEBURY_2014",
            read_middlebury,
            "bad 2 and EPE (avgerr) of visible pixels, weighted mean of images",
            clip=True,
            weighted=True,
            source="after the SDK of version 3: predictions clipped to [0, ndisp], a pixel without one is bad, "
            "PianoL, Playroom, Playtable, PlaytableP, Shelves and Vintage weigh one half; counted at the "
            "size of the files found, where the official server counts at full resolution",
            published="middlebury",
        ),
        StereoBenchmark(
            "eth3d",
            "stereo/layouts/ETH3D",
            read_eth3d,
            "bad 1 of visible pixels, mean of images",
            source="training set of two-view scenes, mask0nocc.png",
            published="eth3d",
        ),
    )
}


def _both_passes(root: Path) -> list[StereoPair]:
    """Final and clean pass, whichever is there; names tell them apart."""
    pairs: list[StereoPair] = []
    reasons = []
    for render_pass in ("final", "clean"):
        try:
            found = read_sceneflow(render_pass)(root)
        except FileNotFoundError as error:
            reasons.append(str(error))
            continue
        pairs += [replace(pair, name=f"{render_pass}/{pair.name}") for pair in found]
    if not pairs:
        raise FileNotFoundError(reasons[0] if reasons else f"{root}: no pairs")
    return pairs
