"""`python -m eval.demo`: matches a real pair, draws it, and says how many matches are right.

The pair is the motorcycle of Middlebury 2014, which comes inside scikit-image with its disparity.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

RIGHT_PX = 2.0  # a match this close to the true one counts as right


@dataclass(frozen=True)
class Arguments:
    """Matches the motorcycle pair and writes matches.png."""

    method: Annotated[str, tyro.conf.arg(metavar="small|sift|PATH")] = "small"
    """As in python -m eval."""
    out: Path = Path("out")
    """Folder for the picture; made where it is missing."""


@dataclass(frozen=True)
class DisparityCheck:
    """How matches of a rectified pair compare with a known disparity."""

    matches: int
    known: int  # matches at pixels whose disparity is known
    right: int  # of those, how many lie within RIGHT_PX of where the disparity says

    def __str__(self) -> str:
        share = f"{100 * self.right / self.known:.1f} %" if self.known else "none"
        return (
            f"{self.matches} matches; {self.known} of them at pixels of known disparity, "
            f"{share} of which within {RIGHT_PX:g} px of it"
        )


def check_disparity(kpts0: np.ndarray, kpts1: np.ndarray, disp: np.ndarray) -> DisparityCheck:
    """Compares matches (N, 2) of left and right image with disp (H, W), not finite where unknown.

    The left pixel (x, y) belongs to the right pixel (x - disp, y); disp is read at the nearest pixel.
    """
    x, y = np.rint(kpts0).astype(int).T
    found = disp[y.clip(0, disp.shape[0] - 1), x.clip(0, disp.shape[1] - 1)]
    known = np.isfinite(found)
    wanted = kpts0[known] - np.column_stack([found[known], np.zeros(known.sum())])
    right = np.linalg.norm(kpts1[known] - wanted, axis=1) < RIGHT_PX
    return DisparityCheck(len(kpts0), int(known.sum()), int(right.sum()))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; 0, or 2 where something is missing."""
    arguments = tyro.cli(Arguments, prog="python -m eval.demo", args=argv)
    try:
        print(demo(arguments))
    except (OSError, ValueError, RuntimeError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def demo(arguments: Arguments) -> str:
    """Matches, draws and counts; what there is to say."""
    from eval.methods import find_method
    from matching.draw import draw_matches

    left, right, disp = motorcycle()
    matcher = find_method(arguments.method).load()
    start = time.perf_counter()
    matches = matcher.match(left, right)
    seconds = time.perf_counter() - start
    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / "matches.png"
    draw_matches(left, right, matches, picture)
    check = check_disparity(matches.kpts0, matches.kpts1, disp)
    return f"motorcycle, {seconds:.2f} s: {check}\n{picture}"


def motorcycle() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left and right image (500, 741, 3) uint8 and disparity (500, 741) of the left one.

    Raises:
        RuntimeError: scikit-image, which carries the pair, is not installed.
    """
    try:
        from skimage.data import stereo_motorcycle
    except ImportError as error:
        raise RuntimeError(
            f"the demo wants scikit-image: pip install '.[demo]' ({error})"
        ) from error
    left, right, disp = stereo_motorcycle()
    return left, right, disp


if __name__ == "__main__":
    sys.exit(main())
