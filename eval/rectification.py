"""`python -m eval.rectification LEFT RIGHT`: whether the rows of two images belong to each other.

Stereo looks along rows alone, so a pair that is not rectified gives garbage without a word. Matches of our own
matcher, which knows nothing of rows, show how far off they are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from data_scripts.command_line import run_command

LARGEST_PX = 1.0  # median vertical offset of a pair that counts as rectified
FEWEST = 20  # matches that a median is worth something of


@dataclass(frozen=True)
class Arguments:
    """Tells how far matches of two images lie off the same row; exit code 1 when too far."""

    left: tyro.conf.Positional[Path]
    """Left image file."""
    right: tyro.conf.Positional[Path]
    """Right image file."""
    method: Annotated[str, tyro.conf.arg(metavar="small|sift|PATH")] = "small"
    """As in python -m eval."""


@dataclass(frozen=True)
class Rectification:
    """How far matches lie off the same row."""

    matches: int
    offset_px: (
        float  # median of |y right - y left|, which a turn raises as well as a shift; NaN for none
    )

    @property
    def good(self) -> bool | None:
        """Whether the pair counts as rectified; None where the matches are too few to tell."""
        return self.offset_px <= LARGEST_PX if self.matches >= FEWEST else None

    def __str__(self) -> str:
        if self.good is None:
            return f"rectification is unknown: {FEWEST} matches are wanted, got {self.matches}"
        offset = f"median vertical offset of {self.matches} matches: {self.offset_px:.2f} px"
        if self.good:
            return f"{offset}; rectified"
        return (
            f"WARNING: {offset}, wanted at most {LARGEST_PX:g} px; rectify the pair, or its disparity is "
            "wrong"
        )


def check_rectification(kpts0: np.ndarray, kpts1: np.ndarray) -> Rectification:
    """Compares the rows of matches (N, 2) of the left and the right image, in pixels as given."""
    if not len(kpts0):
        return Rectification(0, float("nan"))
    offset = np.median(np.abs(kpts1[:, 1] - kpts0[:, 1]))
    return Rectification(len(kpts0), float(offset))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, 1 where the pair is not rectified, or 2 where something is missing."""
    return run_command("error", lambda: _show(argv))


def _show(argv: Sequence[str] | None) -> int:
    found = _check(tyro.cli(Arguments, prog="python -m eval.rectification", args=argv))
    print(found)
    return int(found.good is False)


def _check(arguments: Arguments) -> Rectification:
    from data_scripts.given_images import as_rgb8
    from eval.methods import load_matcher

    left, right = (as_rgb8(path) for path in (arguments.left, arguments.right))
    matches = load_matcher(arguments.method).match(left, right)
    return check_rectification(matches.kpts0, matches.kpts1)


if __name__ == "__main__":
    sys.exit(main())
