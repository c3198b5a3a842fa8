"""`python -m eval.readme_picture`: the picture of the README, of a photograph that anyone may show.

NASA's portrait of Eileen Collins (public domain, inside scikit-image) and the same as a second camera would
see it: turned, nearer, from the side and darker. The homography between both is known, so the command says
how many matches are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from data_scripts.command_line import MENDABLE, run_command
from matching.geometry import warp_points

SIZE = 480, 640  # height, width of both views, px
RIGHT_PX = 3.0  # a match this close to the true one counts as right
# where the second camera sees the corners of the photograph, as shares of its width and height
CORNERS = ((0.16, -0.14), (0.93, 0.06), (0.86, 1.2), (0.02, 0.98))


@dataclass(frozen=True)
class Arguments:
    """Matches two views of a photograph in the public domain and draws the matches."""

    out: Path = Path("docs/matches.jpg")
    """The picture; its folder is made where it is missing."""
    method: str = "small"
    """As in python -m eval."""


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the picture; 0, or 2 where something is missing."""

    def work() -> None:
        print(make_picture(tyro.cli(Arguments, prog="python -m eval.readme_picture", args=argv)))

    return run_command("error", work, (*MENDABLE, ImportError))


def make_picture(arguments: Arguments) -> str:
    """Matches, draws and counts; what there is to say."""
    from skimage.data import astronaut

    from eval.methods import load_matcher
    from matching.draw import draw_matches

    image0, image1, H_0to1 = two_views(astronaut())
    matches = load_matcher(arguments.method).match(image0, image1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw_matches(image0, image1, matches, arguments.out)
    right = right_share(matches.kpts0, matches.kpts1, H_0to1)
    return (
        f"{arguments.out}: {len(matches)} matches, {right:.1%} within {RIGHT_PX:g} px of the truth"
    )


def two_views(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two views (H, W, 3) uint8 of `photo`, and the homography (3, 3) from the first to the second."""
    height, width = SIZE
    H, W = photo.shape[:2]
    scale = max(height / H, width / W)
    to0 = np.diag([scale, scale, 1.0])
    to0[:2, 2] = (width - scale * W) / 2, 0.0
    corners = np.array([(0, 0), (W, 0), (W, H), (0, H)], np.float32)
    seen = np.array(CORNERS, np.float32) * np.array((width, height), np.float32)
    to1 = cv2.getPerspectiveTransform(corners, seen)
    flags = cv2.INTER_AREA
    image0 = cv2.warpPerspective(photo, to0, (width, height), flags=flags)
    image1 = cv2.warpPerspective(photo, to1, (width, height), flags=flags)
    darker = (255 * (np.arange(256) / 255) ** 1.6).round().astype(np.uint8)
    return np.asarray(image0), np.asarray(cv2.LUT(image1, darker)), to1 @ np.linalg.inv(to0)


def right_share(kpts0: np.ndarray, kpts1: np.ndarray, H_0to1: np.ndarray) -> float:
    """Share of matches (N, 2) whose end in the second view is where the homography says; 0 for none."""
    if not len(kpts0):
        return 0.0
    there = warp_points(kpts0, H_0to1)
    return float((np.linalg.norm(kpts1 - there, axis=1) < RIGHT_PX).mean())


if __name__ == "__main__":
    raise SystemExit(main())
