"""`python -m matching align A B`: warps A onto B by the homography that their matches agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from matching.options import DEFAULT_LONG_SIDE

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TwoImages:
    """Two image files and how their homography is found.

    Args:
        image0: First image file.
        image1: Second image file; the result has its frame.
        output: Write the result here: .png, .jpg, .webp or .tif.
        weights: Name of shipped weights, or a checkpoint file.
        long_side: Longest side in pixels that the network sees; None keeps every image's size.
        threshold_px: A match agrees with the homography when it lies so near, in pixels of image1.
        backend: Robust estimator; poselib wants the extra quadview[poselib].
        device: cpu, cuda or cuda:N.
    """

    image0: tyro.conf.Positional[Path]
    image1: tyro.conf.Positional[Path]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    weights: str = "small"
    long_side: int | None = DEFAULT_LONG_SIDE
    threshold_px: float = 3.0
    backend: Literal["opencv", "poselib"] = "opencv"
    device: str = "cpu"


@dataclass(frozen=True)
class AlignCommand(TwoImages):
    """Warp image0 onto image1, pixel by pixel in the frame of image1.

    Args:
        viz: Write tiles of both images in turn here: where lines go on across tiles, they fit.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("aligned.png")
    viz: Path | None = None


@dataclass(frozen=True)
class FittedPair:
    """Two images as RGB, and the homography between them."""

    image0: "np.ndarray"  # (H, W, 3) uint8
    image1: "np.ndarray"
    H_0to1: "np.ndarray"  # (3, 3)
    agreeing: int  # matches within the threshold
    matches: int

    def __str__(self) -> str:
        rows = "; ".join(" ".join(f"{value:.6g}" for value in row) for row in self.H_0to1)
        return f"{self.agreeing} of {self.matches} matches agree, H_0to1 = [{rows}]"


def parse(argv: Sequence[str]) -> AlignCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(AlignCommand, args=argv, prog="python -m matching align")


def run(command: AlignCommand) -> str:
    """Aligns and writes; returns the lines to print.

    Raises:
        ValueError: no homography fits, or anything else that the user can mend; as OSError.
    """
    from data_scripts.atomic import keep_apart, writable
    from matching.warp import WRITTEN_SUFFIXES, checkerboard, warp_onto, write_rgb

    for path in (command.output, command.viz):
        if path is not None:
            writable(path, WRITTEN_SUFFIXES)
    keep_apart((command.output, command.viz), (command.image0, command.image1))
    pair = fit(command)
    moved, inside = warp_onto(pair.image0, pair.H_0to1, *pair.image1.shape[:2])
    write_rgb(command.output, moved)
    if command.viz is not None:
        write_rgb(command.viz, checkerboard(moved, pair.image1, inside))
    return f"{pair}\n{command.output}: covers {inside.mean():.0%} of {command.image1}"


def fit(command: TwoImages) -> FittedPair:
    """Reads and matches both images and finds their homography.

    Raises:
        ValueError: as `run`.
    """
    from data_scripts.given_images import as_rgb8
    from data_scripts.image_files import read_image
    from matching.geometry import RobustSettings, estimate
    from matching.predictor import load_predictor

    settings = RobustSettings(command.backend, command.threshold_px)
    images = [read_image(path) for path in (command.image0, command.image1)]
    predictor = load_predictor(command.weights, device=command.device, long_side=command.long_side)
    matches = predictor.match(*images)
    found = estimate("homography", matches.kpts0, matches.kpts1, settings=settings)
    if found.matrix is None:
        raise ValueError(
            f"{command.image0} and {command.image1} must share a plane, or be taken from one place: "
            f"{found.failure}"
        )
    shown = [as_rgb8(image) for image in images]
    return FittedPair(shown[0], shown[1], found.matrix, int(found.inliers.sum()), len(matches))
