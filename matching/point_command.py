"""`python -m matching points A B --points FILE`: where points of one image lie in another; or in a video."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from matching.options import DEFAULT_LONG_SIDE

if TYPE_CHECKING:
    import numpy as np

    from matching.point_prediction import PointMatches
    from matching.predictor import MatchPredictor

MAX_LINES = 20  # points that are printed one by one
DEFAULT_WEIGHTS = ("small", "small_points")  # of the matcher and of the point decoder


@dataclass(frozen=True)
class PointCommand:
    """Find points of the first image in the second, or follow points of the first frame through a video.

    One of --points, --at and --grid says which points.

    Args:
        images: Two image files; none with --video.
        video: A video file or a folder of frames, instead of two images: each frame is matched with the
            next, a lost point stays lost.
        points: File of points, x and y in pixels of the first image: .csv, .txt, .npy or .npz.
        at: Points themselves, as X,Y X,Y ...
        grid: Points on a grid with so many pixels between them.
        output: Write the points here: .csv, .h5 or .npz; of a video .csv or .npz.
        viz: Write a picture here: .png, .jpg, .pdf or .svg.
        min_confidence: From which a point counts as found, in [0, 1].
        weights: Of the matcher that the decoder was trained on: a shipped name or a checkpoint.
        point_weights: Of the point decoder: a shipped name or a checkpoint.
        long_side: Longest side in pixels that the network sees; None keeps every image's size.
        device: cpu, cuda or cuda:N.
        dtype: Number format of the features; auto takes bfloat16 where the processor has it.
    """

    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    video: Path | None = None
    points: Path | None = None
    at: Annotated[tuple[str, ...], tyro.conf.arg(metavar="X,Y")] = ()
    grid: int | None = None
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    viz: Path | None = None
    min_confidence: float = 0.5
    weights: str = DEFAULT_WEIGHTS[0]
    point_weights: str = DEFAULT_WEIGHTS[1]
    long_side: int | None = DEFAULT_LONG_SIDE
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"


def parse(argv: Sequence[str]) -> PointCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(PointCommand, args=argv, prog="python -m matching points")


def run(command: PointCommand) -> str:
    """Finds or follows the points and writes what was asked for; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError; told in one line.
    """
    _check(command)
    return _run_pair(command) if command.video is None else _run_video(command)


def _check(command: PointCommand) -> None:
    """Raises before the work for what could not be done or written."""
    from data_scripts.atomic import keep_apart, writable
    from data_scripts.figure_file import PICTURE_SUFFIXES
    from matching.field_files import SUFFIXES
    from matching.point_files import TRACK_SUFFIXES

    if command.video is None and len(command.images) != 2:
        raise ValueError(f"wanted two images, or --video, got {len(command.images)} images")
    if command.video is not None and command.images:
        raise ValueError("wanted two images or --video, got both")
    given = (command.points is not None, bool(command.at), command.grid is not None)
    if sum(given) != 1:
        raise ValueError(f"wanted one of --points, --at and --grid, got {sum(given)} of them")
    if command.grid is not None and command.grid < 1:
        raise ValueError(f"--grid must be 1 px or more, got {command.grid}")
    if not 0 <= command.min_confidence <= 1:
        raise ValueError(f"--min-confidence must be in [0, 1], got {command.min_confidence}")
    if command.output is not None:
        suffixes = SUFFIXES if command.video is None else TRACK_SUFFIXES
        writable(command.output, suffixes)
    if command.viz is not None:
        writable(command.viz, PICTURE_SUFFIXES)
    keep_apart((command.output, command.viz), (*command.images, command.points, command.video))


def _run_pair(command: PointCommand) -> str:
    from data_scripts.image_files import read_image
    from matching.export import PairInfo
    from matching.point_draw import draw_points
    from matching.point_files import write_points

    image0, image1 = (read_image(path) for path in command.images)
    points = _points(command, image0)
    predictor = _load(command)
    start = time.perf_counter()
    found = predictor.match_points(image0, image1, points, min_confidence=command.min_confidence)
    seconds = time.perf_counter() - start
    if command.output is not None:
        (H0, W0), (H1, W1) = image0.shape[:2], image1.shape[:2]
        name0, name1 = (str(path) for path in command.images)
        write_points(command.output, points, found, PairInfo(name0, name1, H0, W0, H1, W1))
    if command.viz is not None:
        draw_points(image0, image1, points, found, command.viz)
    lines = _lines(points, found) if len(points) <= MAX_LINES else []
    told = f"{int(found.visible.sum())} of {len(points)} points found, {seconds:.2f} s"
    return "\n".join([*lines, told])


def _lines(points: "np.ndarray", found: "PointMatches") -> list[str]:
    """What became of each point."""
    lines = []
    rows = zip(points, found.points1, found.confidence, found.visible, strict=True)
    for (x0, y0), (x1, y1), sure, visible in rows:
        there = f"{x1:.2f}, {y1:.2f}" if visible else "not visible"
        lines.append(f"{x0:g}, {y0:g} -> {there} (confidence {sure:.2f})")
    return lines


def _run_video(command: PointCommand) -> str:
    from collections.abc import Iterator

    import numpy as np
    from tqdm import tqdm

    from matching.point_draw import draw_tracks
    from matching.point_files import write_tracks
    from matching.point_tracks import Frame, frames_of, track

    assert command.video is not None
    frames = iter(frames_of(command.video))
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{command.video}: wanted at least one frame, got none; check the video")
    points = _points(command, first.image)
    last = first

    def shown() -> Iterator[Frame]:
        nonlocal last
        yield first
        for frame in tqdm(frames, "frames", unit="frame", disable=None):
            last = frame
            yield frame

    start = time.perf_counter()
    tracks = track(_load(command), shown(), points, command.min_confidence)
    seconds = time.perf_counter() - start
    if command.output is not None:
        write_tracks(command.output, tracks)
    if command.viz is not None:
        draw_tracks(first.image, last.image, tracks, command.viz)
    left = int(np.isfinite(tracks.points[-1]).all(1).sum())
    return f"{left} of {len(points)} points followed through {len(tracks.names)} frames, {seconds:.1f} s"


def _points(command: PointCommand, image: "np.ndarray") -> "np.ndarray":
    """The points that were asked for, (N, 2) px."""
    import numpy as np

    from matching.point_files import read_points

    if command.points is not None:
        return read_points(command.points)
    if command.grid is not None:
        H, W = image.shape[:2]
        x = np.arange(command.grid // 2, W, command.grid)
        y = np.arange(command.grid // 2, H, command.grid)
        return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).astype(np.float64)
    return np.array([_point(text) for text in command.at])


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"--at must be points as X,Y in pixels, got {text!r}") from error
    return x, y


def _load(command: PointCommand) -> "MatchPredictor":
    from attention_ops.precision import chosen_dtype
    from matching.predictor import load_predictor

    return load_predictor(
        command.weights,
        device=command.device,
        dtype=chosen_dtype(command.dtype),
        long_side=command.long_side,
        point_weights=command.point_weights,
    )
