"""`python -m eval.demo`: matches a real pair and finds its disparity, draws both, says how right they are.

The pair is the motorcycle of Middlebury 2014, which comes inside scikit-image with its disparity.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from data_scripts.command_line import run_command

STEREO_WEIGHTS = Path(__file__).parents[1] / "stereo/weights/small.safetensors"
RIGHT_PX = 2.0  # a match this close to the true one counts as right


@dataclass(frozen=True)
class Arguments:
    """Matches the motorcycle pair and finds its disparity; writes matches.png and disparity.png."""

    method: Annotated[str, tyro.conf.arg(metavar="small|sift|PATH")] = "small"
    """As in python -m eval."""
    stereo: Annotated[str, tyro.conf.arg(metavar="small|sgbm|PATH")] = "small"
    """As in python -m eval stereo."""
    out: Path = Path("out")
    """Folder for the pictures; made where it is missing."""


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


@dataclass(frozen=True)
class Motorcycle:
    """The pair, and what is known of it."""

    left: np.ndarray  # (500, 741, 3) uint8
    right: np.ndarray  # (500, 741, 3) uint8
    disp: np.ndarray  # (500, 741) px of the left image, not finite where unknown


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
    prog = "python -m eval.demo"
    return run_command("error", lambda: print(demo(tyro.cli(Arguments, prog=prog, args=argv))))


def demo(arguments: Arguments) -> str:
    """Does all of it; what there is to say."""
    pair = motorcycle()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = [*show_matches(pair, arguments.method, arguments.out / "matches.png")]
    if arguments.stereo == "small" and not STEREO_WEIGHTS.is_file():
        return "\n".join(
            [*lines, f"no disparity: {STEREO_WEIGHTS.name} of stereo is not shipped yet"]
        )
    lines += show_disparity(pair, arguments.stereo, arguments.out / "disparity.png")
    return "\n".join(lines)


def show_matches(pair: Motorcycle, name: str, picture: Path) -> list[str]:
    """Matches, draws and counts; what there is to say."""
    from data_scripts.stopwatch import Stopwatch
    from eval.methods import load_matcher
    from eval.rectification import check_rectification
    from matching.draw import draw_matches

    matcher = load_matcher(name)
    with Stopwatch() as took:
        matches = matcher.match(pair.left, pair.right)
    draw_matches(pair.left, pair.right, matches, picture)
    check = check_disparity(matches.kpts0, matches.kpts1, pair.disp)
    rows = check_rectification(matches.kpts0, matches.kpts1)
    return [f"motorcycle, {took}: {check}", str(rows), str(picture)]


def show_disparity(pair: Motorcycle, name: str, picture: Path) -> list[str]:
    """Finds and draws the disparity, with its error; what there is to say."""
    from data_scripts.stopwatch import Stopwatch
    from eval.disparity import score_disparity
    from eval.stereo_methods import load_stereo
    from stereo.draw import draw_disparity

    stereo = load_stereo(name)
    with Stopwatch() as took:
        found = stereo.predict(pair.left, pair.right)
    draw_disparity(pair.left, found, picture, truth=pair.disp)
    score = score_disparity(found.disparity, pair.disp, np.isfinite(pair.disp))
    errors = f"mean error {score.epe:.2f} px, {100 * score.above(2.0):.1f} % above 2 px"
    return [
        f"disparity, {took}: {errors}, on {score.pixels} known pixels, occluded ones too",
        str(picture),
    ]


def motorcycle() -> Motorcycle:
    """The pair of scikit-image.

    Raises:
        RuntimeError: scikit-image, which carries the pair, is not installed.
    """
    try:
        from skimage.data import stereo_motorcycle
    except ImportError as error:
        raise RuntimeError(
            f"the demo wants scikit-image: pip install '.[demo]' ({error})"
        ) from error
    return Motorcycle(*stereo_motorcycle())


if __name__ == "__main__":
    sys.exit(main())
