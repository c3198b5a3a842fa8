"""Pictures of found points and of tracks, with matplotlib's object API: no window, no global figure."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from data_scripts.figure_file import finished
from data_scripts.given_images import Image, as_rgb8
from matching.draw import side_by_side
from matching.point_prediction import PointMatches
from matching.point_tracks import Tracks

COLOURS = "turbo"
MAX_NUMBERED = 30  # points; more numbers would hide the picture


def draw_points(
    image0: Image,
    image1: Image,
    points0: np.ndarray,
    found: PointMatches,
    path: str | Path | None = None,
) -> Figure:
    """Both images side by side, each point in one colour; crosses in image 0 were not found.

    Args:
        image0: anything that `MatchPredictor.match` takes.
        image1: the same.
        points0: (N, 2) px of image 0.
        found: what `match_points` gave for them.
        path: .png, .jpg, .pdf or .svg; None writes nothing.
    """
    figure, axes, shift = side_by_side(as_rgb8(image0, "image0"), as_rgb8(image1, "image1"))
    shades = _shades(points0)
    seen = found.visible
    there = found.points1 + np.array([shift, 0.0])
    axes.scatter(
        points0[seen, 0], points0[seen, 1], s=16, c=shades[seen], edgecolors="white", linewidths=0.4
    )
    axes.scatter(
        there[seen, 0], there[seen, 1], s=16, c=shades[seen], edgecolors="white", linewidths=0.4
    )
    asked = ~seen & np.isfinite(points0).all(1)
    axes.scatter(
        points0[asked, 0], points0[asked, 1], s=18, c=shades[asked], marker="x", linewidths=0.9
    )
    lines = list(np.stack([points0[seen], there[seen]], axis=1))
    axes.add_collection(LineCollection(lines, colors=shades[seen], linewidths=0.6, alpha=0.5))
    if len(points0) <= MAX_NUMBERED:
        for number in np.flatnonzero(seen):
            for x, y in (points0[number], there[number]):
                axes.annotate(
                    str(number),
                    (x, y),
                    (4, 4),
                    textcoords="offset points",
                    color="white",
                    fontsize=7,
                )
    axes.set_title(f"{int(seen.sum())} of {len(points0)} points found", fontsize=10)
    return finished(figure, path)


def draw_tracks(
    first: Image, last: Image, tracks: Tracks, path: str | Path | None = None
) -> Figure:
    """The first frame with the points, the last one with their paths; crosses are where points were lost.

    Args:
        first: the first frame.
        last: the last one.
        tracks: of all frames.
        path: see `draw_points`.
    """
    figure, axes, shift = side_by_side(as_rgb8(first, "first frame"), as_rgb8(last, "last frame"))
    start = tracks.points[0]
    shades = _shades(start)
    axes.scatter(start[:, 0], start[:, 1], s=10, c=shades, linewidths=0)
    paths, colours, lost = [], [], []
    beside = np.array([shift, 0.0])
    for number in range(tracks.points.shape[1]):
        places = tracks.points[:, number]
        places = places[np.isfinite(places).all(1)]
        if len(places):
            paths.append(places + beside)
            colours.append(shades[number])
            lost.append(len(places) < len(tracks.names))
    axes.add_collection(LineCollection(paths, colors=colours, linewidths=1.0))
    at, gone = np.array([way[-1] for way in paths]).reshape(-1, 2), np.array(lost, bool)
    shade = np.array(colours).reshape(-1, 4)
    axes.scatter(
        at[~gone, 0], at[~gone, 1], s=12, c=shade[~gone], edgecolors="white", linewidths=0.4
    )
    axes.scatter(at[gone, 0], at[gone, 1], s=12, c=shade[gone], marker="x", linewidths=0.8)
    axes.set_title(
        f"{int((~gone).sum())} of {len(start)} points followed through {len(tracks.names)} frames",
        fontsize=10,
    )
    return finished(figure, path)


def _shades(points: np.ndarray) -> np.ndarray:
    """A colour (N, 4) for each point (N, 2): neighbours are alike, so that what strays stands out."""
    if not len(points):
        return np.zeros((0, 4))
    x = np.nan_to_num(points[:, 0] + 0.5 * points[:, 1])
    return np.asarray(colormaps[COLOURS]((x - x.min()) / max(float(np.ptp(x)), 1e-6)))
