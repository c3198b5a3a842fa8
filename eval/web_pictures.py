"""Pictures of the page, as arrays: quick enough to follow a slider. Knows nothing of servers."""

import cv2
import matplotlib as mpl
import numpy as np

from data_scripts.shrink import fitted_size, shrink
from matching.attention_view import AttentionTrace
from matching.draw import LEVEL_COLOURS
from matching.matches import Matches
from stereo.disparity import Disparity

SHOWN_SIDE = 900  # px of each image of the picture of matches
MAX_LINES = 300  # taken evenly through the ranks
MUTED = 0.75  # brightness of the images under the colours
GAP = 8  # px between both images
POINT = (0, 229, 255)  # RGB
MATCH = (118, 255, 3)
OCCLUDED = (255, 46, 99)
OCCLUDED_FROM = 0.5
SUBPIXEL = 4  # bits of fraction in coordinates for OpenCV
DOT = 24  # radius in 1/16 px
RANGE = (0.5, 99.5)  # percentiles of the disparity that get the ends of the colours


def matches_picture(image0: np.ndarray, image1: np.ndarray, matches: Matches) -> np.ndarray:
    """Both images (H, W, 3) uint8 side by side, matches joined by lines, bright where sure."""
    sides, scales = zip(*map(_small, (image0, image1)), strict=True)
    height = max(side.shape[0] for side in sides)
    start = sides[0].shape[1] + GAP
    canvas = np.zeros((height, start + sides[1].shape[1], 3), np.uint8)
    for side, left in zip(sides, (0, start), strict=True):
        grey = cv2.cvtColor(side, cv2.COLOR_RGB2GRAY)
        canvas[: side.shape[0], left : left + side.shape[1]] = (MUTED * grey)[..., None]
    kpts0 = _scaled(matches.kpts0, scales[0])
    kpts1 = _scaled(matches.kpts1, scales[1]) + np.array((start, 0))
    shades = (mpl.colormaps["plasma"](matches.confidence)[:, :3] * 255).astype(int).tolist()
    count = min(len(matches), MAX_LINES)
    lined = set(np.linspace(0, len(matches) - 1, count).round().astype(int).tolist())
    for n in reversed(range(len(matches))):  # the best on top
        ends = _fixed(kpts0[n]), _fixed(kpts1[n])
        if n in lined:
            cv2.line(canvas, *ends, shades[n], 1, cv2.LINE_AA, SUBPIXEL)
        for end in ends:
            cv2.circle(canvas, end, DOT, shades[n], -1, cv2.LINE_AA, SUBPIXEL)
    return canvas


def asking_picture(image0: np.ndarray, trace: AttentionTrace) -> np.ndarray:
    """Image 0 with the asking point and its coarse cell."""
    picture = image0.copy()
    _rectangle(picture, trace.box, POINT, 2)
    _cross(picture, np.array(trace.point), POINT)
    return picture


def regions_picture(
    image1: np.ndarray, trace: AttentionTrace, match: np.ndarray | None
) -> np.ndarray:
    """Image 1 with the cells that each level visits, coarse ones pale, and the match (2,) if there is one."""
    picture = (MUTED * image1).astype(np.uint8)
    for level, visited in enumerate(trace.levels):
        colour = level_rgb(level)
        strength = (level + 1) / len(trace.levels)
        filled = picture.copy()
        for box in visited.boxes:
            _rectangle(filled, box, colour, -1)
        cv2.addWeighted(filled, 0.5 * strength, picture, 1 - 0.5 * strength, 0, dst=picture)
        for box in visited.boxes:
            _rectangle(picture, box, colour, 1)
    if match is not None:
        _cross(picture, match, MATCH)
    return picture


def level_rgb(level: int) -> tuple[int, int, int]:
    """Colour of a level, coarsest first."""
    code = LEVEL_COLOURS[level % len(LEVEL_COLOURS)].lstrip("#")
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


def disparity_picture(disparity: Disparity) -> np.ndarray:
    """The disparity in colours, near is bright: (H, W, 3) uint8."""
    low, high = np.percentile(disparity.disparity, RANGE)
    return _coloured((disparity.disparity - low) / max(high - low, 1e-6))


def confidence_picture(disparity: Disparity) -> np.ndarray:
    """The confidence in colours, sure is bright."""
    return _coloured(disparity.confidence)


def occlusion_picture(left: np.ndarray, disparity: Disparity) -> np.ndarray:
    """The left image, red where the right one lacks it."""
    picture = left.copy()
    hidden = disparity.occlusion > OCCLUDED_FROM
    picture[hidden] = (0.3 * picture[hidden] + 0.7 * np.array(OCCLUDED)).astype(np.uint8)
    return picture


def _coloured(values: np.ndarray) -> np.ndarray:
    return (mpl.colormaps["plasma"](values.clip(0, 1))[..., :3] * 255).astype(np.uint8)


def _small(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image for showing and its scale."""
    H, W = image.shape[:2]
    height, width = fitted_size(H, W, SHOWN_SIDE)
    return shrink(image, height, width).astype(np.uint8), width / W


def _scaled(points: np.ndarray, scale: float) -> np.ndarray:
    return (points + 0.5) * scale - 0.5


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * 2**SUBPIXEL).astype(int).tolist()
    return x, y


def _rectangle(
    picture: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], thickness: int
) -> None:
    left, top, right, bottom = box
    cv2.rectangle(
        picture,
        _fixed(np.array((left, top)) + 0.5),
        _fixed(np.array((right, bottom)) - 0.5),
        colour,
        thickness,
        cv2.LINE_AA,
        SUBPIXEL,
    )


def _cross(picture: np.ndarray, point: np.ndarray, colour: tuple[int, int, int]) -> None:
    x, y = np.rint(point).astype(int).tolist()
    arm = max(12, max(picture.shape[:2]) // 40)
    cv2.drawMarker(picture, (x, y), (0, 0, 0), cv2.MARKER_CROSS, arm, 4, cv2.LINE_AA)
    cv2.drawMarker(picture, (x, y), colour, cv2.MARKER_CROSS, arm, 2, cv2.LINE_AA)
