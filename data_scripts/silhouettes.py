"""Random shapes of things that stand in front: outlines, bars, lattices, rings, twigs, foliage."""

from collections.abc import Callable

import cv2
import numpy as np

from data_scripts import cutouts
from data_scripts.images import Array, FloatMap, Image

OVERSAMPLING = 4
SHIFT = 4  # fractional bits of the coordinates that OpenCV draws with
MARGIN_PX = 1  # around the shape, so that its edges are soft inside its box


def random_silhouette(size: tuple[int, int], rng: np.random.Generator) -> FloatMap:
    """Share of each pixel that a random shape covers, (H, W) in [0, 1], empty at the rim."""
    shares: dict[Callable[[Image, np.random.Generator], None], float] = {
        _outline: 0.45,
        _ring: 0.12,
        _bars: 0.15,
        _lattice: 0.08,
        _twigs: 0.1,
        _foliage: 0.1,
    }
    draw = list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
    return _drawn(size, rng, draw)


def bar(size: tuple[int, int], lean: float) -> FloatMap:
    """A straight bar from the top to the bottom of (H, W) that leans by `lean` of the width."""
    offset = abs(lean)
    ends = np.array([[offset, -1.0], [1.0, -1.0], [1.0 - offset, 1.0], [0.0, 1.0]])
    ends[:, 0] = (ends[:, 0] if lean >= 0 else 1 - ends[:, 0]) * 2 - 1

    def draw(fine: Image, _: np.random.Generator) -> None:
        _fill(fine, ends)

    return _drawn(size, np.random.default_rng(0), draw)


def _drawn(
    size: tuple[int, int],
    rng: np.random.Generator,
    draw: Callable[[Image, np.random.Generator], None],
) -> FloatMap:
    inner = max(1, size[0] - 2 * MARGIN_PX), max(1, size[1] - 2 * MARGIN_PX)
    fine = np.zeros((inner[0] * OVERSAMPLING, inner[1] * OVERSAMPLING), np.uint8)
    draw(fine, rng)
    coarse = cv2.resize(fine, inner[::-1], interpolation=cv2.INTER_AREA)
    cover = np.zeros(size, np.float32)
    rows, columns = min(inner[0], size[0]), min(inner[1], size[1])
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    cover[top : top + rows, left : left + columns] = coarse[:rows, :columns] / np.float32(255)
    return cover


def _fill(fine: Image, points: Array, value: int = 255) -> None:
    """Fills the polygon `points` (P, 2), which span -1..1 across `fine` (H, W)."""
    fixed = (points + 1) / 2 * (fine.shape[1], fine.shape[0]) - 0.5
    cv2.fillPoly(fine, [np.round(fixed * 2**SHIFT).astype(np.int32)], value, shift=SHIFT)


def _outline(fine: Image, rng: np.random.Generator) -> None:
    _fill(fine, cutouts.random_outline(rng))


def _ring(fine: Image, rng: np.random.Generator) -> None:
    """An outline with a hole of the same shape: frames, handles, wheels."""
    outline = cutouts.random_outline(rng)
    _fill(fine, outline)
    _fill(fine, outline * rng.uniform(0.55, 0.93), 0)


def _bars(fine: Image, rng: np.random.Generator) -> None:
    """Up to nine parallel bars, mostly upright or level."""
    angle = float(rng.choice([0.0, 90.0, rng.uniform(0, 180)], p=[0.5, 0.2, 0.3]))
    _fill_bars(fine, angle, rng)


def _lattice(fine: Image, rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 90) if rng.random() < 0.5 else 0.0
    _fill_bars(fine, angle, rng)
    _fill_bars(fine, angle + 90, rng)


def _fill_bars(fine: Image, angle_deg: float, rng: np.random.Generator) -> None:
    count = int(rng.integers(2, 10))
    half = rng.uniform(0.08, 0.4) / count
    turn = np.deg2rad(angle_deg)
    along = np.array([-np.sin(turn), np.cos(turn)])
    across = np.array([np.cos(turn), np.sin(turn)])
    for place in (np.arange(count) + 0.5) * (2 / count) - 1:
        corners = [(-half, -1.5), (half, -1.5), (half, 1.5), (-half, 1.5)]
        _fill(fine, np.array([(place + s) * across + t * along for s, t in corners]))


def _twigs(fine: Image, rng: np.random.Generator) -> None:
    """Branches that fork as they grow up from the bottom."""
    side = min(fine.shape)
    tips = [(np.array([0.0, 0.95]), -90 + 15 * rng.standard_normal(), 0.06 * rng.uniform(0.3, 1.0))]
    for _ in range(5):
        grown = []
        for start, heading, width in tips:
            turn = np.deg2rad(heading)
            end = start + rng.uniform(0.25, 0.5) * np.array([np.cos(turn), np.sin(turn)])
            ends = (np.stack([start, end]) + 1) / 2 * (fine.shape[1], fine.shape[0])
            points = np.round(ends * 2**SHIFT).astype(np.int32)
            thickness = max(OVERSAMPLING, round(width * side))
            cv2.polylines(fine, [points], False, 255, thickness, shift=SHIFT)
            for _ in range(int(rng.integers(1, 4))):
                grown.append((end, heading + 35 * rng.standard_normal(), 0.7 * width))
        tips = grown[:14]


def _foliage(fine: Image, rng: np.random.Generator) -> None:
    """Clumps with ragged edges and holes: noise above a threshold, within an ellipse."""
    H, W = fine.shape
    cells = int(rng.integers(5, 18))
    grid = rng.random((cells + 3, cells + 3), dtype=np.float32)
    noise = np.asarray(cv2.resize(grid, (W, H), interpolation=cv2.INTER_CUBIC), np.float32)
    x, y = np.linspace(-1, 1, W, dtype=np.float32), np.linspace(-1, 1, H, dtype=np.float32)[:, None]
    noise -= np.float32(0.6) * (x * x + y * y) ** 2
    fine[noise > rng.uniform(0.25, 0.45)] = 255
