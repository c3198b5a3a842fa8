"""`python -m matching stitch A B`: both images in one picture, in the frame of B."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from matching.align import TwoImages, fit


@dataclass(frozen=True)
class StitchCommand(TwoImages):
    """Stitch two images, taken from one place or of one plane, into one picture."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("stitched.png")


def parse(argv: Sequence[str]) -> StitchCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(StitchCommand, args=argv, prog="python -m matching stitch")


def run(command: StitchCommand) -> str:
    """Stitches and writes; returns the lines to print.

    Raises:
        ValueError: no homography fits, or anything else that the user can mend; as OSError.
    """
    from data_scripts.atomic import keep_apart, writable
    from matching.warp import WRITTEN_SUFFIXES, stitch, write_rgb

    writable(command.output, WRITTEN_SUFFIXES)
    keep_apart((command.output,), (command.image0, command.image1))
    pair = fit(command)
    panorama = stitch(pair.image0, pair.image1, pair.H_0to1)
    write_rgb(command.output, panorama.image)
    H, W = panorama.image.shape[:2]
    return f"{pair}\n{command.output}: {W} x {H} px"
