"""Points followed through the frames of a video, from each frame to the next; and where frames come from."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike

from data_scripts.image_files import read_image
from matching.pair_lists import image_names
from matching.point_prediction import as_points

if TYPE_CHECKING:
    from matching.predictor import MatchPredictor


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    name: str  # of the file, or the number of the frame
    image: np.ndarray  # (H, W) or (H, W, 3) RGB


@dataclass(frozen=True)
class Tracks:
    """N points in T frames; a point that was lost once stays lost."""

    names: tuple[str, ...]  # of the frames
    points: np.ndarray  # (T, N, 2) float32 x, y in pixels of each frame; NaN from where it was lost
    confidence: np.ndarray  # (T, N) float32 of the step to this frame; 1 in the first, 0 when lost


def frames_of(place: Path) -> Iterator[Frame]:
    """The images of a folder in the order of their names, numbers by value; or the frames of a video.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no images, or no video that OpenCV reads, before the first frame; or a broken image.
    """
    if place.is_dir():
        names = sorted(image_names(place), key=_by_number)
        return (Frame(name, read_image(place / name)) for name in names)
    if not place.is_file():
        raise FileNotFoundError(f"{place}: there is no such video or folder of frames")
    video = cv2.VideoCapture(str(place))
    if not video.isOpened():
        raise ValueError(f"{place}: wanted a video, got a file that OpenCV cannot open; convert it")
    return _frames(video)


def track(
    predictor: "MatchPredictor",
    frames: Iterable[Frame],
    points: ArrayLike,
    min_confidence: float = 0.5,
) -> Tracks:
    """Follows points (N, 2), in pixels of the first frame, from each frame to the next.

    Nothing is found again that was lost once, and small errors of the steps add up.

    Raises:
        ValueError: no frame; and what `match_points` raises.
    """
    now = as_points(points)
    names: list[str] = []
    places: list[np.ndarray] = []
    certainties: list[np.ndarray] = []
    before = None
    for frame in frames:
        here = predictor.extract(frame.image)
        if before is None:
            H, W = here.size
            inside = np.all((now >= 0) & (now <= (W - 1, H - 1)), axis=1)  # NaN is outside
            now = np.where(inside[:, None], now, np.nan)
            sure = inside.astype(np.float32)
        else:
            alive = np.isfinite(now).all(1)
            found = predictor.match_points(before, here, now[alive], min_confidence=min_confidence)
            now, sure = np.full_like(now, np.nan), np.zeros(len(now), np.float32)
            now[alive] = found.points1
            sure[alive] = np.where(found.visible, found.confidence, 0)
        names.append(frame.name)
        places.append(now.astype(np.float32))
        certainties.append(sure)
        before = here
    if not names:
        raise ValueError("wanted at least one frame, got none; check the video")
    return Tracks(tuple(names), np.stack(places), np.stack(certainties))


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame9 before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _frames(video: cv2.VideoCapture) -> Iterator[Frame]:
    try:
        number = 0
        while True:
            there, frame = video.read()
            if not there:
                return
            yield Frame(f"{number:06d}", np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
            number += 1
    finally:
        video.release()
