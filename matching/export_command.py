"""`python -m matching export hloc|colmap`: matches of a batch for tools that make 3-D models of them.

With --onnx or --torch in the place of a target it is the network that is exported, by
`matching.network_export`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from matching.keypoint_merging import MergedScene
    from matching.network_export import NetworkCommand

PROG = "python -m matching export"
NETWORK_FLAGS = ("--onnx", "--torch")  # one of them: the network is exported, not matches


@dataclass(frozen=True)
class ExportCommand:
    """Where the matches are and how their ends become key points.

    Args:
        matches: The --out of python -m matching batch.
        radius_px: Points of an image so near each other become one key point; larger values give longer
            tracks and less exact points. In pixels of the images as given.
        min_confidence: Leave out matches below this.
    """

    matches: Path
    radius_px: float = 1.0
    min_confidence: float = 0.0


@dataclass(frozen=True)
class HlocCommand(ExportCommand):
    """Write features.h5, matches.h5 and pairs.txt as hloc reads them.

    Args:
        out: Folder for the files.
    """

    out: Path = Path("hloc")


@dataclass(frozen=True)
class ColmapCommand(ExportCommand):
    """Write a COLMAP database with verified pairs.

    Args:
        out: The database; one that is there is replaced.
        intrinsics: FX FY CX CY in pixels of every image, the centre of the top-left pixel at 0, 0. Left out,
            COLMAP guesses and refines.
        single_camera: One camera took all images.
        threshold_px: A match agrees with the geometry of its pair when it is so near.
        backend: Robust estimator; poselib wants the extra quadview[poselib].
    """

    out: Path = Path("database.db")
    intrinsics: tuple[float, float, float, float] | None = None
    single_camera: bool = False
    threshold_px: float = 3.0
    backend: Literal["opencv", "poselib"] = "opencv"


TARGETS: dict[str, type[HlocCommand] | type[ColmapCommand]] = {
    "hloc": HlocCommand,
    "colmap": ColmapCommand,
}


def parse(argv: Sequence[str]) -> "HlocCommand | ColmapCommand | NetworkCommand":
    """The command that `argv` spells; exits with a message where it spells none.

    Raises:
        ValueError: the first word is no target.
    """
    if any(word.split("=")[0] in NETWORK_FLAGS for word in argv):
        from matching import network_export

        return network_export.parse(argv)
    if not argv or argv[0] not in TARGETS:
        if "--help" in argv or "-h" in argv:
            sys.stdout.write(
                f"usage: {PROG} hloc|colmap [options], or {PROG} --onnx FILE [options]; each has its own "
                "--help\n"
            )
            sys.exit(0)
        raise ValueError(
            f"wanted {PROG} {'|'.join(TARGETS)}, or one of {', '.join(NETWORK_FLAGS)}, got "
            f"{argv[0] if argv else 'nothing'}"
        )
    target = argv[0]
    return tyro.cli(TARGETS[target], args=argv[1:], prog=f"{PROG} {target}")


def run(command: "HlocCommand | ColmapCommand | NetworkCommand") -> str:
    """Exports; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as OSError.
    """
    if not isinstance(command, ExportCommand):
        from matching import network_export

        return network_export.run(command)
    from matching.keypoint_merging import merge_scene
    from matching.shards import read_results

    if isinstance(command, ColmapCommand):
        from data_scripts.atomic import writable

        writable(command.out, (".db",))
    scene = merge_scene(read_results(command.matches), command.radius_px, command.min_confidence)
    points = sum(len(image.keypoints) for image in scene.images.values())
    matches = sum(len(pair.index) for pair in scene.pairs)
    said = f"{len(scene.images)} images, {points} key points, {matches} matches"
    if isinstance(command, HlocCommand):
        from matching.hloc_files import write_hloc

        paths = write_hloc(command.out, scene)
        return f"{said}: {', '.join(map(str, paths))}"
    return f"{said}: {_write_colmap(command, scene)}"


def _write_colmap(command: ColmapCommand, scene: "MergedScene") -> str:
    from tqdm import tqdm

    from data_scripts.long_run import SECONDS_PER_LINE
    from matching.colmap_database import CameraChoice, write_colmap
    from matching.geometry import RobustSettings

    settings = RobustSettings(command.backend, command.threshold_px)
    camera = CameraChoice(command.intrinsics, command.single_camera)
    interval = 0.1 if sys.stderr.isatty() else SECONDS_PER_LINE
    with tqdm(scene.pairs, unit="pair", mininterval=interval) as pairs:
        counts = write_colmap(command.out, scene, camera, settings, progress=pairs)
    return f"{command.out}, {counts.verified} of {counts.pairs} pairs verified"
