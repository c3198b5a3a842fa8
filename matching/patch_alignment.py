"""Loops over patches of two images: sample them, say how sharp they are, align them by Gauss-Newton steps.

A patch is a square grid round a point; a map (2, 2) says how many pixels of an image one step of the grid is, so that
the patches of both images of a match show the same. Samples beyond an image repeat its edge.
"""

from typing import TypeAlias

import numpy as np

from data_scripts.compiled_loop import compiled

fast = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN keeps its meaning
quick = compiled(fastmath=fast)

# What a side is made of: levels (P, H, W) float32, level (N,) of each match, used (H, W) bool or (0, 0) for all, points (N, 2) and
# maps (N, 2, 2) float64.
Side: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

LEAST_VARIANCE = 1e-8  # of a patch with grey in [0, 1]; one of equal pixels would divide by zero
PLAIN_VARIANCE = 1e-5  # below this only noise is seen
ROOM = 1.0  # steps of the grid; samples of image 1 stay inside while the patch moves so far


@quick
def align(
    side0: Side,
    side1: Side,
    window: np.ndarray,
    setting: tuple[int, float, float, float, float, float, float],
    block: tuple[int, int],
    found: np.ndarray,
) -> None:
    """Fills the matches block = (first, past the last) of found (N, 2): where the points of side 1 belong.

    Minimises the weighted squared difference of both patches, each less its mean and brought to one contrast. The
    gradient is the mean of both patches' (Malis 2004); each step is that of Lucas and Kanade 1981.

    Args:
        side0: image 0 and its points.
        side1: image 1.
        window: (S, S) float32 weights of the pixels of a patch, S odd.
        setting: rounds; steps of the grid that end them; most steps that a point may move; least correlation of
            the patches; weight of staying, in units of the difference that is left; damping in grey^2;
            least share of the weights that must be seen in both images.
        block: see above.
        found: rows that have moved are written.
    """
    size = window.shape[0]
    patch0, patch1 = (
        np.empty((size + 2, size + 2), np.float32),
        np.empty((size + 2, size + 2), np.float32),
    )
    slopes = np.empty((2, size, size), np.float32)
    inner = np.empty((size, size), np.float32)
    weights = np.empty_like(window)
    levels0, level0, _, points0, maps0 = side0
    for n in range(block[0], block[1]):
        if _seen_weights(side0, side1, n, window, weights) < setting[6]:
            continue
        _sample(levels0[level0[n]], points0[n], maps0[n], patch0)
        own, _ = _template(patch0, weights, inner, slopes)
        _align_one((inner, slopes, own), (weights, patch1), side1, n, setting, found[n])


@quick
def _align_one(
    template: tuple[np.ndarray, np.ndarray, np.float32],
    scratch: tuple[np.ndarray, np.ndarray],
    side1: Side,
    n: int,
    setting: tuple[int, float, float, float, float, float, float],
    found: np.ndarray,
) -> None:
    """Fills found (2,) with the place in image 1, if the patches are more alike there."""
    rounds, enough, farthest, least, pull, damping, _ = setting
    inner, slopes, own = template
    weights, patch = scratch
    levels, level, used, points, maps = side1
    A, image, place = maps[n], levels[level[n]], np.empty(2)
    right, down, step, before = 0.0, 0.0, 1.0, 0.0
    for done in range(rounds + 1):
        place[0] = points[n, 0] + A[0, 0] * right + A[0, 1] * down
        place[1] = points[n, 1] + A[1, 0] * right + A[1, 1] * down
        _sample(image, place, A, patch)
        mean, variance, common = _moments(patch, weights, inner)
        alike = common / np.sqrt(own * variance)
        if done == 0:
            before = alike
        if done == rounds or step < enough:
            break
        stay = pull * own * max(1 - alike, 0.0)
        gain = np.float32(np.sqrt(own / variance))
        xx, xy, yy, to_right, to_down = _equations((inner, slopes), scratch, mean, gain)
        xx += damping + stay
        yy += damping + stay
        to_right -= stay * right
        to_down -= stay * down
        area = xx * yy - xy * xy
        step_right, step_down = (
            (yy * to_right - xy * to_down) / area,
            (xx * to_down - xy * to_right) / area,
        )
        step = np.sqrt(step_right**2 + step_down**2)
        shrink = 1 / max(step, 1.0)  # a linear image holds for about a pixel
        right += shrink * step_right
        down += shrink * step_down
        if not right * right + down * down < farthest * farthest:
            return
    if alike > least and alike > before and _usable(image, used, place):
        found[0], found[1] = place[0], place[1]


@quick
def _sample(image: np.ndarray, point: np.ndarray, A: np.ndarray, patch: np.ndarray) -> None:
    """Fills patch (S, S) with image (H, W) at point + A u, u from -(S - 1) / 2 to (S - 1) / 2, bilinearly."""
    H, W = image.shape
    S = patch.shape[0]
    flat = image.reshape(-1)
    place = np.empty(S, np.uint32)
    across, along = np.empty(S, np.float32), np.empty(S, np.float32)
    end_x, end_y = np.float32(W - 1), np.float32(H - 1)
    last_x, last_y = np.float32(max(W - 2, 0)), np.float32(max(H - 2, 0))
    to_right, to_down = np.uint32(W > 1), np.uint32(W if H > 1 else 0)
    half = (S - 1) // 2
    first_x = point[0] - half * (A[0, 0] + A[0, 1])
    first_y = point[1] - half * (A[1, 0] + A[1, 1])
    dx, dy = np.float32(A[0, 0]), np.float32(A[1, 0])
    for row in range(S):
        row_x, row_y = np.float32(first_x + row * A[0, 1]), np.float32(first_y + row * A[1, 1])
        for k in range(S):
            x, y = row_x + dx * np.float32(k), row_y + dy * np.float32(k)
            x = x if x > np.float32(0) else np.float32(0)  # NaN too: it becomes an index
            y = y if y > np.float32(0) else np.float32(0)
            x = x if x < end_x else end_x
            y = y if y < end_y else end_y
            left, top = min(np.float32(np.int32(x)), last_x), min(np.float32(np.int32(y)), last_y)
            across[k], along[k] = x - left, y - top
            place[k] = np.uint32(np.int32(top)) * np.uint32(W) + np.uint32(np.int32(left))
        for k in range(S):
            here = place[k]
            upper, lower = flat[here], flat[here + to_down]
            upper += across[k] * (flat[here + to_right] - upper)
            lower += across[k] * (flat[here + to_down + to_right] - lower)
            patch[row, k] = upper + along[k] * (lower - upper)


@quick
def _seen_weights(
    side0: Side, side1: Side, n: int, window: np.ndarray, weights: np.ndarray
) -> np.float32:
    """Fills weights with window where both images of match n are seen, of sum 1; returns the share that is."""
    S = window.shape[0]
    for row in range(S):
        for k in range(S):
            weights[row, k] = window[row, k]
    _keep_seen(side0, n, 1.0, weights)
    _keep_seen(side1, n, 1.0 + ROOM, weights)
    seen = np.float32(0)
    for row in range(S):
        for k in range(S):
            seen += weights[row, k]
    scale = 1 / max(seen, np.float32(LEAST_VARIANCE))
    for row in range(S):
        for k in range(S):
            weights[row, k] *= scale
    return seen


@quick
def _keep_seen(side: Side, n: int, margin: float, weights: np.ndarray) -> None:
    """Sets weights (S, S) of match n to 0 where its image is not used, or ends within so many steps of the grid."""
    levels, _, used, points, maps = side
    H, W = levels.shape[1:]
    point, A = points[n], maps[n]
    S = weights.shape[0]
    half = (S - 1) // 2
    room_x = margin * max(abs(A[0, 0]), abs(A[0, 1]))
    room_y = margin * max(abs(A[1, 0]), abs(A[1, 1]))
    reach_x = room_x + half * (abs(A[0, 0]) + abs(A[0, 1]))
    reach_y = room_y + half * (abs(A[1, 0]) + abs(A[1, 1]))
    inside_x = reach_x <= point[0] <= W - 1 - reach_x
    if used.size == 0 and inside_x and reach_y <= point[1] <= H - 1 - reach_y:
        return
    for row in range(S):
        for k in range(S):
            x = point[0] + A[0, 0] * (k - half) + A[0, 1] * (row - half)
            y = point[1] + A[1, 0] * (k - half) + A[1, 1] * (row - half)
            inside = room_x <= x <= W - 1 - room_x and room_y <= y <= H - 1 - room_y
            if not inside or (used.size and not used[int(y + 0.5), int(x + 0.5)]):
                weights[row, k] = 0


@quick
def _template(
    patch: np.ndarray, weights: np.ndarray, inner: np.ndarray, slopes: np.ndarray
) -> tuple[np.float32, np.float32]:
    """Fills inner (S, S) with patch (S + 2, S + 2) less its mean, and slopes (2, S, S) to the right and down.

    Returns the variance, and the mean of the squared gradient.
    """
    S = weights.shape[0]
    mean = variance = slope = np.float32(0)
    half = np.float32(0.5)
    for row in range(S):
        for k in range(S):
            mean += weights[row, k] * patch[row + 1, k + 1]
    for row in range(S):
        for k in range(S):
            value = patch[row + 1, k + 1] - mean
            right = half * (patch[row + 1, k + 2] - patch[row + 1, k])
            down = half * (patch[row + 2, k + 1] - patch[row, k + 1])
            inner[row, k], slopes[0, row, k], slopes[1, row, k] = value, right, down
            variance += weights[row, k] * value * value
            slope += weights[row, k] * (right * right + down * down)
    return variance + np.float32(LEAST_VARIANCE), slope


@quick
def _moments(
    patch: np.ndarray, weights: np.ndarray, inner: np.ndarray
) -> tuple[np.float32, np.float32, np.float32]:
    """Mean and variance of patch (S + 2, S + 2) without its rim, and its covariance with inner (S, S)."""
    S = weights.shape[0]
    mean, square, common = np.float32(0), np.float32(0), np.float32(0)
    for row in range(S):
        for k in range(S):
            value = patch[row + 1, k + 1]
            weighted = weights[row, k] * value
            mean += weighted
            square += weighted * value
            common += weighted * inner[row, k]
    return mean, max(square - mean * mean, np.float32(0)) + np.float32(LEAST_VARIANCE), common


@quick
def _equations(
    template: tuple[np.ndarray, np.ndarray],
    scratch: tuple[np.ndarray, np.ndarray],
    mean: np.float32,
    gain: np.float32,
) -> tuple[float, float, float, float, float]:
    """The sums of g gT (xx, xy, yy) and of g times the difference (x, y), g being the mean gradient less its mean."""
    inner, slopes = template
    weights, patch = scratch
    S = weights.shape[0]
    half, quarter = np.float32(0.5), np.float32(0.25) * gain
    x = y = xx = xy = yy = right = down = np.float32(0)
    for row in range(S):
        for k in range(S):
            w = weights[row, k]
            gx = half * slopes[0, row, k] + quarter * (patch[row + 1, k + 2] - patch[row + 1, k])
            gy = half * slopes[1, row, k] + quarter * (patch[row + 2, k + 1] - patch[row, k + 1])
            wrong = inner[row, k] - gain * (patch[row + 1, k + 1] - mean)
            x += w * gx
            y += w * gy
            xx += w * gx * gx
            xy += w * gx * gy
            yy += w * gy * gy
            right += w * gx * wrong
            down += w * gy * wrong
    return float(xx - x * x), float(xy - x * y), float(yy - y * y), float(right), float(down)


@quick
def _usable(image: np.ndarray, used: np.ndarray, place: np.ndarray) -> bool:
    """Whether place (2,) lies between pixels of the image (H, W) that are used."""
    H, W = image.shape
    if not (0 <= place[0] <= W - 1 and 0 <= place[1] <= H - 1):
        return False
    if used.size == 0:
        return True
    left, top = int(place[0]), int(place[1])
    right, low = min(left + 1, W - 1), min(top + 1, H - 1)
    return used[top, left] and used[top, right] and used[low, left] and used[low, right]


@quick
def details(side: Side, window: np.ndarray, found: np.ndarray) -> None:
    """Fills found (N,) with variance over squared gradient of each patch, in squared steps; 0 where all is plain."""
    levels, level, _, points, maps = side
    size = window.shape[0]
    patch = np.empty((size + 2, size + 2), np.float32)
    inner, slopes = np.empty((size, size), np.float32), np.empty((2, size, size), np.float32)
    for n in range(len(points)):
        _sample(levels[level[n]], points[n], maps[n], patch)
        variance, slope = _template(patch, window, inner, slopes)
        plain = variance < PLAIN_VARIANCE or slope <= 0
        found[n] = np.float32(0) if plain else variance / slope
