"""From matches of many pairs to key points of images, so that tracks run through more than two images.

A matcher without detector finds other points in an image for every pair it is in. Points of one image that lie
within a radius of each other become one key point, at the place with the most confidence: cells of the
coarse grid, which come again in every pair whose first image it is, win over points that came once. Every
match keeps its own two ends where it can, and moves an end by at most the radius.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data_scripts.compiled_loop import compiled
from matching.shards import PairResult

GRID_SIDE = 4096  # cells of the search grid at most, each way, which bounds its memory


@dataclass(frozen=True)
class ImageKeypoints:
    """Key points of one image, those in most matches first."""

    size: tuple[int, int]  # height, width in pixels as given
    keypoints: np.ndarray  # (Q, 2) float32 x, y in pixels as given
    score: np.ndarray  # (Q,) float32, the sum of the confidence of its matches


@dataclass(frozen=True)
class IndexedPair:
    """Matches of a pair as numbers of key points; no key point comes twice on either side."""

    image0: str
    image1: str
    index: np.ndarray  # (M, 2) int64
    confidence: np.ndarray  # (M,) float32


@dataclass(frozen=True)
class MergedScene:
    """All images and pairs of a run, with key points that pairs share."""

    images: dict[str, ImageKeypoints]  # by name, sorted
    pairs: list[IndexedPair]  # in the order of the run; both directions of a pair are one


def merge_scene(
    results: Iterable[PairResult], radius_px: float, min_confidence: float = 0.0
) -> MergedScene:
    """Key points of every image and the matches between them; failed pairs are left out.

    All matches are held in memory, 20 bytes each.

    Args:
        results: of a run.
        radius_px: points of an image so near each other are one; 0 joins only equal ones.
        min_confidence: matches below it are left out.

    Raises:
        ValueError: the radius is negative, or an image changed its size within the run.
    """
    if not 0 <= radius_px < float("inf"):
        raise ValueError(f"the radius must be 0 px or more, got {radius_px}")
    sizes: dict[str, tuple[int, int]] = {}
    kept: dict[tuple[str, str], np.ndarray] = {}  # (M, 5): x0, y0, x1, y1, confidence
    for result in results:
        if result.why:
            continue
        for name, size in ((result.image0, result.size0), (result.image1, result.size1)):
            if sizes.setdefault(name, size) != size:
                raise ValueError(
                    f"{name}: must have one size in a run, got {sizes[name]} and {size} (height, width); "
                    "match it again into a new folder"
                )
        _add(kept, result, min_confidence)
    points = _points_of_images(kept, sorted(sizes))
    merged = {name: merge_points(*points[name], radius_px) for name in points}
    images = {
        name: ImageKeypoints(sizes[name], keypoints, score)
        for name, (keypoints, score, _) in merged.items()
    }
    return MergedScene(
        images, _indexed_pairs(kept, {name: each[2] for name, each in merged.items()})
    )


def merge_points(
    points: np.ndarray, votes: np.ndarray, radius_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins points that lie within a radius of a better one.

    Greedy: the place with the most votes is a key point, and whatever lies within the radius of it is not;
    then the next. In the end each point belongs to the key point nearest to it.

    Args:
        points: (P, 2) float32.
        votes: (P,) how much each point weighs; those of equal points add up.
        radius_px: 0 or more.

    Returns:
        Key points (Q, 2), any two of them further apart than the radius, their votes (Q,), and for every
        point the number of its key point (P,), which lies within the radius.
    """
    if not len(points):
        return np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    places, member = np.unique(points, axis=0, return_inverse=True)
    member = member.ravel()
    weight = np.bincount(member, votes, len(places))
    order = np.lexsort((places[:, 1], places[:, 0], -weight))
    side = max(radius_px, float(np.ptp(places, axis=0).max()) / GRID_SIDE, 1e-6)
    cells = ((places - places.min(0)) / side).astype(np.int64) + 1  # a border of one cell
    chosen, owner = _suppress(places.astype(np.float64), order, cells, float(radius_px))
    index = owner[member]
    score = np.bincount(index, votes, len(chosen)).astype(np.float32)
    return places[chosen].astype(np.float32), score, index


def one_to_one(index0: np.ndarray, index1: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Which matches to keep so that no number comes twice in either column: the surest first.

    Args:
        index0: (M,) key points of image 0.
        index1: (M,) key points of image 1.
        confidence: (M,).

    Returns:
        Numbers of matches, surest first; at equal confidence the earlier match.
    """
    order = np.argsort(-confidence, kind="stable")
    taken = _first_of_both(
        index0[order], index1[order], int(index0.max(initial=0)) + 1, int(index1.max(initial=0)) + 1
    )
    return np.asarray(order[taken])


@compiled()
def _suppress(
    places: np.ndarray, order: np.ndarray, cells: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Numbers of the key points among `places`, and for every place the key point nearest to it."""
    count = len(places)
    head = np.full((cells[:, 1].max() + 2, cells[:, 0].max() + 2), -1, np.int32)
    following = np.full(count, -1, np.int32)  # the next key point in the same cell
    chosen = np.empty(count, np.int64)
    found = 0
    owner = np.empty(count, np.int64)
    for sweep in range(2):  # first choose, then give each place to the nearest
        for rank in range(count):
            place = order[rank]
            x, y = cells[place, 0], cells[place, 1]
            best, nearest = -1, radius
            for row in range(y - 1, y + 2):
                for column in range(x - 1, x + 2):
                    other = head[row, column]
                    while other >= 0:
                        dx = places[chosen[other], 0] - places[place, 0]
                        dy = places[chosen[other], 1] - places[place, 1]
                        distance = np.sqrt(dx * dx + dy * dy)
                        if distance < nearest or (distance == nearest and best < 0):
                            best, nearest = other, distance
                        other = following[other]
            if sweep == 1:
                owner[place] = best
            elif best < 0:
                chosen[found] = place
                following[found] = head[y, x]
                head[y, x] = found
                found += 1
    return chosen[:found].copy(), owner


@compiled()
def _first_of_both(
    index0: np.ndarray, index1: np.ndarray, count0: int, count1: int
) -> np.ndarray:  # pragma: no cover
    """Which rows have both numbers for the first time among the rows kept before."""
    seen0, seen1 = np.zeros(count0, np.bool_), np.zeros(count1, np.bool_)
    keep = np.zeros(len(index0), np.bool_)
    for row in range(len(index0)):
        if not seen0[index0[row]] and not seen1[index1[row]]:
            keep[row] = seen0[index0[row]] = seen1[index1[row]] = True
    return keep


def _add(
    kept: dict[tuple[str, str], np.ndarray], result: PairResult, min_confidence: float
) -> None:
    """Adds the matches of a result; those of the turned pair, if it was there before, to that."""
    found = result.matches
    rows = np.column_stack([found.kpts0, found.kpts1, found.confidence])
    rows = rows[found.confidence >= min_confidence]
    names, turned = (result.image0, result.image1), (result.image1, result.image0)
    if turned in kept:
        names, rows = turned, rows[:, [2, 3, 0, 1, 4]]
    kept[names] = np.concatenate([kept[names], rows]) if names in kept else rows


def _points_of_images(
    kept: dict[tuple[str, str], np.ndarray], names: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All points of every image, pair after pair, and their confidence."""
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros((0, 3), np.float32)] for name in names}
    for (image0, image1), rows in kept.items():
        parts[image0].append(rows[:, [0, 1, 4]])
        parts[image1].append(rows[:, [2, 3, 4]])
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    return {name: (rows[:, :2], rows[:, 2]) for name, rows in joined.items()}


def _indexed_pairs(
    kept: dict[tuple[str, str], np.ndarray], index: dict[str, np.ndarray]
) -> list[IndexedPair]:
    """The pairs with numbers of key points, in the order in which `_points_of_images` went."""
    used = dict.fromkeys(index, 0)  # points of each image that are dealt with
    pairs = []
    for names, rows in kept.items():
        columns = []
        for name in names:
            columns.append(index[name][used[name] : used[name] + len(rows)])
            used[name] += len(rows)
        keep = one_to_one(columns[0], columns[1], rows[:, 4])
        both = np.column_stack(columns)[keep].reshape(-1, 2)
        pairs.append(IndexedPair(*names, both, rows[keep, 4].astype(np.float32)))
    return pairs
