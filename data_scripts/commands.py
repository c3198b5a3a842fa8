"""The commands of `python -m data_scripts`, as tyro reads them. Nothing heavy is imported before a command runs."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from data_scripts.command_line import check_counts

if TYPE_CHECKING:
    import numpy as np

    from data_scripts.plan import Plan

FAULTY = 1  # exit code of a data set with bad records
SHOWN_FAULTS = 50


@dataclass(frozen=True)
class Conversion:
    """What all conversions are told."""

    raw: Path
    """Folder of the data set as it was unpacked."""
    out: Path
    """Converted data set to write, .h5; with more than --shard-images images a folder .shards beside it."""
    workers: int = 1
    """Processes."""
    shard_images: int = 256
    """Images in a file of records; what is done again at most after an interruption."""
    skip_bad: bool = False
    """Leave out files that cannot be read, and their pairs; they are listed in the converted file."""
    overwrite: bool = False
    """Take the place of another conversion at --out."""
    check: bool = True
    """Read every record again when all is written."""
    dry_run: bool = False
    """Only say what is there and what is missing."""

    def __post_init__(self) -> None:
        check_counts(self, "workers", "shard_images")

    def plan(self) -> "Plan":
        """What is to be converted."""
        raise NotImplementedError

    def run(self) -> int:
        """Converts and checks; 0, or 1 where the check finds bad records."""
        return carry_out(self, self.plan())


def carry_out(options: Conversion, plan: "Plan") -> int:
    """Says what `plan` holds and lacks, converts and checks it."""
    for remark in plan.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(f"{plan.info.dataset}: {len(plan.images)} images, {len(plan.pairs)} pairs")
    print(f"licence: {plan.info.licence}")
    if options.dry_run:
        return 0
    from data_scripts.conversion import Settings, convert

    settings = Settings(options.workers, options.shard_images, options.skip_bad, options.overwrite)
    done = convert(plan, options.out, settings)
    kept = f", {done.resumed} of them from an earlier run" if done.resumed else ""
    skipped = f", {done.skipped} sources left out" if done.skipped else ""
    print(f"{options.out}: {done.images} images{kept}, {done.pairs} pairs{skipped}")
    return report_faults(options.out, options.workers) if options.check else 0


def report_faults(path: Path, workers: int) -> int:
    """Checks a converted set and prints its faults; 1 if there are any, else 0."""
    from data_scripts.checks import check_dataset

    faults = check_dataset(path, workers)
    for line in faults[:SHOWN_FAULTS]:
        print(line)
    if len(faults) > SHOWN_FAULTS:
        print(f"and {len(faults) - SHOWN_FAULTS} more")
    print(f"{path}: {len(faults)} faults" if faults else f"{path}: every record is sound")
    return FAULTY if faults else 0


@dataclass(frozen=True)
class ScanNet(Conversion):
    """ScanNet frames (color/N.jpg, depth, pose of SensReader, or the 1500 test pairs) with LoFTR's indices."""

    pairs: Path | None = None
    """Index of pairs .npz, or a folder of them; default test.npz in --raw."""
    intrinsics: Path | None = None
    """intrinsics.npz; default beside the index, else intrinsic/ of every scan."""
    min_overlap: float = 0.0
    """Least score of pairs, where the index has scores."""
    depth: bool = True
    """Take depth maps where they are."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.scannet import Choice, plan

        choice = Choice(self.pairs, self.intrinsics, self.min_overlap, self.depth)
        return plan(self.raw, choice)


@dataclass(frozen=True)
class MegaDepth(Conversion):
    """MegaDepth as LoFTR arranges it: undistorted images, depth .h5, scene_info .npz."""

    index: Path | None = None
    """Folder of scene indices, or one of them; default in --raw."""
    min_overlap: float = 0.0
    """Least overlap of pairs."""
    depth: bool = True
    """Take depth maps where they are."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.megadepth import Choice, plan

        return plan(self.raw, self.index, Choice(self.min_overlap, self.depth))


@dataclass(frozen=True)
class HPatches(Conversion):
    """HPatches sequences (or Oxford's, or a pairs.json with H_0to1)."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.hpatches import plan

        return plan(self.raw)


@dataclass(frozen=True)
class SceneFlow(Conversion):
    """FlyingThings3D, its DispNet subset, Driving and Monkaa, found below one folder."""

    render_pass: Literal["clean", "final"] = "final"
    """Which images."""
    split: Literal["train", "test", "all"] = "all"
    """FlyingThings3D's TRAIN or TEST; Driving and Monkaa are train."""
    leave_out: Path | None = None
    """List of images that are not taken, such as all_unused_files.txt of the DispNet subset."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.sceneflow import plan

        unwanted = [] if self.leave_out is None else self.leave_out.read_text().splitlines()
        return plan(self.raw, self.render_pass, self.split, unwanted)


@dataclass(frozen=True)
class Kitti(Conversion):
    """KITTI 2012 or 2015 stereo, the training pairs."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.kitti import plan

        return plan(self.raw)


@dataclass(frozen=True)
class Middlebury(Conversion):
    """Middlebury scenes of 2001 to 2021 and the v3 benchmark's, at the size that is there."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.middlebury import plan

        return plan(self.raw)


@dataclass(frozen=True)
class Eth3d(Conversion):
    """ETH3D low-resolution two-view training scenes."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.middlebury import plan

        return plan(self.raw, eth3d=True)


@dataclass(frozen=True)
class ScanNetSample(Conversion):
    """A pair list in SuperGlue's format with ground truth, and its images."""

    pairs: Path | None = None
    """The list; default the one in --raw."""

    def plan(self) -> "Plan":
        """What is to be converted."""
        from data_scripts.planners.scannet_sample import plan

        return plan(self.raw, self.pairs)


@dataclass(frozen=True)
class PairsFromDepth(Conversion):
    """Overlap scores and pairs from RGB-D scans with poses; --out .json is a list, .h5 a data set."""

    min_overlap: float = 0.1
    """Least overlap: the smaller share of either depth map that the other one sees."""
    max_overlap: float = 1.0
    """Largest overlap."""
    every: int = 1
    """Take every n-th frame of a scan."""
    max_pairs: int | None = None
    """Keep that many pairs of a scan, drawn at random."""
    seed: int = 0
    """Of the draw."""
    intrinsics: tuple[float, float, float, float] | None = field(default=None)
    """fx fy cx cy of scans that come without intrinsics, such as 7-Scenes."""
    chain: bool = False
    """Of a list of pairs, score every two frames that its motions connect, not only the pairs listed."""

    def run(self) -> int:
        """Scores, then writes the list or converts."""
        from data_scripts.atomic import writable
        from data_scripts.pairs_from_depth import Choice, plan, score_folder, write_list

        out = writable(self.out, (".json", ".h5"))
        choice = Choice(
            self.min_overlap, self.max_overlap, self.every, self.max_pairs, self.seed, self.chain
        )
        scored = score_folder(self.raw, choice, self._camera(), self.workers)
        if out.suffix == ".h5":
            return carry_out(self, plan(scored, self.raw))
        count = sum(len(one.pairs) for one in scored)
        if not self.dry_run:
            write_list(scored, out)
        print(f"{out}: {count} pairs of {len(scored)} scans")
        return 0

    def _camera(self) -> "np.ndarray | None":
        import numpy as np

        if self.intrinsics is None:
            return None
        fx, fy, cx, cy = self.intrinsics
        if fx <= 0 or fy <= 0:
            raise ValueError(
                f"--intrinsics must be fx fy cx cy with positive fx and fy, got {fx} {fy}"
            )
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class TurnedPairs:
    """Views of photographs, the second one turned and zoomed, with their homographies; a folder a case."""

    photos: Path
    """Folder of photographs, searched recursively."""
    out: Path
    """Folder to write to: turn_045_zoom_1/pairs.json and so on, each a set for `eval homography`."""
    count: int = 8
    """Photographs, taken evenly from those that are large enough; pairs of a case."""
    height: int = 480
    """Of the views, in pixels."""
    width: int = 640
    """Of the views, in pixels."""
    turns: tuple[float, ...] = (0, 30, 45, 60, 90, 135, 180)
    """Turns in degrees, from x towards y, each at zoom 1."""
    zooms: tuple[float, ...] = (0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8)
    """Pixels of image 1 per pixel of image 0, each unturned."""
    both: tuple[tuple[float, float], ...] = ((30, 0.5), (45, 0.5), (120, 0.4))
    """Cases that are turned and zoomed: turn, zoom, turn, zoom ..."""
    max_gamma: float = 1.4
    """Gamma of image 1 is drawn between its inverse and it; 1 for none."""
    noise: float = 4.0
    """Of image 1: standard deviation in grey levels of 255."""
    max_enlargement: float = 2.6
    """Photographs where a view had to be enlarged more are left out as too small."""
    seed: int = 0
    """Of gamma and noise."""

    def run(self) -> int:
        """Chooses photographs, then writes the cases that are not there yet."""
        from data_scripts.turned_pairs import Views, all_cases, choose_photos, write_cases

        check_counts(self, "count")
        knobs = (self.max_gamma, self.noise, self.max_enlargement, self.seed)
        views = Views(self.height, self.width, *knobs)
        cases = all_cases(self.turns, self.zooms, self.both)
        photos = choose_photos(self.photos, cases, views, self.count)
        resumed = write_cases(self.out, photos, cases, views)
        kept = f", {resumed} of them from an earlier run" if resumed else ""
        print(f"{self.out}: {len(cases)} cases of {len(photos)} pairs{kept}")
        return 0


@dataclass(frozen=True)
class Check:
    """Decode and look at every record of a converted data set; 1 and a list where some are bad."""

    file: tyro.conf.Positional[Path]
    """The .h5 file."""
    workers: int = 1
    """Processes."""

    def run(self) -> int:
        """Checks and prints."""
        return report_faults(self.file, self.workers)


Command: TypeAlias = (
    Annotated[ScanNet, tyro.conf.subcommand("scannet")]
    | Annotated[MegaDepth, tyro.conf.subcommand("megadepth")]
    | Annotated[HPatches, tyro.conf.subcommand("hpatches")]
    | Annotated[SceneFlow, tyro.conf.subcommand("sceneflow")]
    | Annotated[Kitti, tyro.conf.subcommand("kitti")]
    | Annotated[Middlebury, tyro.conf.subcommand("middlebury")]
    | Annotated[Eth3d, tyro.conf.subcommand("eth3d")]
    | Annotated[ScanNetSample, tyro.conf.subcommand("scannet_sample")]
    | Annotated[PairsFromDepth, tyro.conf.subcommand("pairs_from_depth")]
    | Annotated[TurnedPairs, tyro.conf.subcommand("turned_pairs")]
    | Annotated[Check, tyro.conf.subcommand("check")]
)
