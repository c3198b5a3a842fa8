"""How image 1 is stretched and turned against image 0 round each match, read off the matches near it.

Knows points only. Wrong matches among the neighbours count little; where few are near, or where they do not agree,
the map that is typical of the pair stands in.
"""

import numpy as np

from data_scripts.compiled_loop import compiled, in_blocks

RADIUS_PX = 30.0  # in image 0; small enough that a surface seen at a slant is flat within it
MOST_NEIGHBOURS = 32  # an even selection of more
FARTHEST_PX = 4 * RADIUS_PX  # in image 1; farther neighbours are wrong matches
SCALES_PX = (16.0, 8.0, 4.0, 2.0, 1.0)  # of Cauchy weights, round by round
RIDGE_PX2 = 60.0  # what the typical map weighs; a neighbour weighs its squared distance, px^2
WEAK_RIDGE_PX2 = 1.0  # the same before the typical map is known
FEWEST_MAPS = 5  # maps that make a typical one
MOST_MAPS = 512  # an even selection of more
FEWEST_NEIGHBOURS = 4  # that make such a map
SCALE_LIMITS = (0.2, 5.0)  # of a map; others come of wrong matches
LEAST_BLOCK = 256  # matches a thread


def local_affine(kpts0: np.ndarray, kpts1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per match the matrix A with x1' - x1 = A (x0' - x0) for neighbours x0', x1', and whether it is known.

    Fits with Cauchy weights that grow stricter (Holland and Welsch 1977), pulled to the median of all maps.

    Args:
        kpts0: (N, 2) x, y in pixels of image 0, finite.
        kpts1: (N, 2) the same for image 1.

    Returns:
        (N, 2, 2) float64, the typical map of the pair where a match has no sound one of its own; and (N,) bool,
        False where there is neither, which gives the identity.
    """
    N = len(kpts0)
    points = np.ascontiguousarray(np.concatenate([kpts0, kpts1], axis=1), np.float64)
    grid = _Grid(points[:, :2])
    some = np.arange(0, N, 1 + N // MOST_MAPS)
    maps, support = _fitted(points, grid, some, np.eye(2), WEAK_RIDGE_PX2)
    sound = (support >= FEWEST_NEIGHBOURS) & _plausible(maps)
    typical, known = np.eye(2), False
    if sound.sum() >= FEWEST_MAPS:
        median = np.median(maps[sound], axis=0)
        known = bool(_plausible(median[None])[0])
        typical = median if known else typical
    maps, support = _fitted(points, grid, np.arange(N), typical, RIDGE_PX2)
    sound = (support >= FEWEST_NEIGHBOURS) & _plausible(maps)
    keep = sound | (known & _plausible(maps))
    return np.where(keep[:, None, None], maps, typical), sound | known


class _Grid:
    """Which points lie in which square of RADIUS_PX: `order[starts[c] : starts[c + 1]]` are those of square c."""

    def __init__(self, points: np.ndarray) -> None:
        squares = np.floor(points / RADIUS_PX).astype(np.int64)
        squares -= squares.min(axis=0, initial=0)
        columns, rows = squares.max(axis=0, initial=0) + 1
        self.shape = int(columns), int(rows)
        numbers = squares[:, 1] * self.shape[0] + squares[:, 0]
        self.order = np.argsort(numbers, kind="stable")
        edges = np.arange(self.shape[0] * self.shape[1] + 1)
        self.starts = np.searchsorted(numbers[self.order], edges)
        self.squares = squares


def _plausible(maps: np.ndarray) -> np.ndarray:
    """Which maps (N, 2, 2) turn no side over and scale within limits: (N,) bool."""
    area = np.linalg.det(maps)
    return (area > SCALE_LIMITS[0] ** 2) & (area < SCALE_LIMITS[1] ** 2)


def _fitted(
    points: np.ndarray, grid: _Grid, some: np.ndarray, typical: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Maps (M, 2, 2) of the matches `some` (M,), and how many neighbours each goes through within a pixel or so."""
    maps, support = np.empty((len(some), 2, 2)), np.empty(len(some))
    squares = (grid.squares, grid.order, grid.starts, grid.shape)
    prior = (typical, ridge)
    in_blocks(
        lambda block: _fit(points, squares, prior, some, block, maps, support),
        len(some),
        LEAST_BLOCK,
    )
    return maps, support


@compiled()
def _fit(
    points: np.ndarray,
    squares: tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]],
    prior: tuple[np.ndarray, float],
    some: np.ndarray,
    block: tuple[int, int],
    maps: np.ndarray,
    support: np.ndarray,
) -> None:
    """Fills the rows block = (first, past the last) of maps (M, 2, 2) and support (M,)."""
    near = np.empty((MOST_NEIGHBOURS + 1, 4))
    for n in range(block[0], block[1]):
        count = _neighbours(points, squares, some[n], near)
        support[n] = _fit_one(near[:count], prior, maps[n])


@compiled()
def _neighbours(
    points: np.ndarray,
    squares: tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]],
    n: int,
    near: np.ndarray,
) -> int:
    """Fills rows of near with steps (x0, y0, x1, y1) from match n to itself and to those round it."""
    place, order, starts, shape = squares
    rows = range(max(place[n, 1] - 1, 0), min(place[n, 1] + 1, shape[1] - 1) + 1)
    left, right = max(place[n, 0] - 1, 0), min(place[n, 0] + 1, shape[0] - 1) + 1
    total = 0
    for row in rows:
        total += starts[row * shape[0] + right] - starts[row * shape[0] + left]
    # A circle fills a third of the nine squares
    stride = 1 + total // (3 * MOST_NEIGHBOURS)
    near[0, 0] = near[0, 1] = near[0, 2] = near[0, 3] = 0
    count, seen = 1, 0
    for row in rows:
        for place_in_order in range(starts[row * shape[0] + left], starts[row * shape[0] + right]):
            m = order[place_in_order]
            seen += 1
            if m == n or seen % stride or count == len(near):
                continue
            x, y = points[m, 0] - points[n, 0], points[m, 1] - points[n, 1]
            u, v = points[m, 2] - points[n, 2], points[m, 3] - points[n, 3]
            if x * x + y * y > RADIUS_PX**2 or u * u + v * v > FARTHEST_PX**2:
                continue
            near[count, 0], near[count, 1], near[count, 2], near[count, 3] = x, y, u, v
            count += 1
    return count


@compiled()
def _fit_one(near: np.ndarray, prior: tuple[np.ndarray, float], found: np.ndarray) -> float:
    """Fills found (2, 2) with the map of steps near (count, 4); returns how many it goes through."""
    typical, ridge = prior
    weights = np.ones(len(near))
    for scale in SCALES_PX:
        mean_x, mean_y, mean_u, mean_v = _means(near, weights)
        xx, xy, yy = ridge, 0.0, ridge
        ux, uy = ridge * typical[0, 0], ridge * typical[0, 1]
        vx, vy = ridge * typical[1, 0], ridge * typical[1, 1]
        for k in range(len(near)):
            x, y = weights[k] * (near[k, 0] - mean_x), weights[k] * (near[k, 1] - mean_y)
            xx += x * (near[k, 0] - mean_x)
            xy += x * (near[k, 1] - mean_y)
            yy += y * (near[k, 1] - mean_y)
            ux += x * (near[k, 2] - mean_u)
            uy += y * (near[k, 2] - mean_u)
            vx += x * (near[k, 3] - mean_v)
            vy += y * (near[k, 3] - mean_v)
        area = xx * yy - xy * xy
        found[0, 0], found[0, 1] = (ux * yy - uy * xy) / area, (uy * xx - ux * xy) / area
        found[1, 0], found[1, 1] = (vx * yy - vy * xy) / area, (vy * xx - vx * xy) / area
        for k in range(len(near)):
            x, y = near[k, 0] - mean_x, near[k, 1] - mean_y
            u = near[k, 2] - mean_u - found[0, 0] * x - found[0, 1] * y
            v = near[k, 3] - mean_v - found[1, 0] * x - found[1, 1] * y
            weights[k] = 1 / (1 + (u * u + v * v) / scale**2)
    total = 0.0
    for k in range(1, len(near)):
        total += weights[k]
    return total


@compiled()
def _means(near: np.ndarray, weights: np.ndarray) -> tuple[float, float, float, float]:
    """Weighted means of the four columns of near (count, 4)."""
    total, x, y, u, v = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(near)):
        total += weights[k]
        x += weights[k] * near[k, 0]
        y += weights[k] * near[k, 1]
        u += weights[k] * near[k, 2]
        v += weights[k] * near[k, 3]
    return x / total, y / total, u / total, v / total
