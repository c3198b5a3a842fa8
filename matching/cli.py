"""The command that matches two image files. Torch is imported only after the words are understood."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from matching.options import DEFAULT_LONG_SIDE, MatchOptions

if TYPE_CHECKING:
    import numpy as np

    from matching.matches import Matches
    from matching.network import ImageFeatures
    from matching.predictor import MatchPredictor


@dataclass(frozen=True)
class MatchCommand:
    """Match two images of the same scene.

    Other things to do, each with its own --help: align, batch, convert, export, points, recall,
    reconstruct, soak, stitch, train, train-points, as in `python -m matching train --help`.

    Args:
        image0: First image file.
        image1: Second image file.
        output: Write the matches here: .h5, .npz or .csv.
        viz: Write a picture of the matches here: .png, .jpg, .pdf or .svg.
        weights: Name of shipped weights, or a checkpoint file.
        long_side: Longest side in pixels that the network sees; larger images are shrunk, smaller
            ones never enlarged. None keeps every image's size.
        show_attention: X,Y in pixels of the first image: also draw the cells of the second image that
            QuadTree attention visits for that point, as VIZ_attention.png beside --viz, or
            attention.png here.
        device: cpu, cuda or cuda:N.
        dtype: Number format of the network; auto takes bfloat16 where the processor has it.
        match: Which matches to look for and to keep.
    """

    image0: tyro.conf.Positional[Path]
    image1: tyro.conf.Positional[Path]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    viz: Path | None = None
    weights: str = "small"
    long_side: int | None = DEFAULT_LONG_SIDE
    show_attention: Annotated[str | None, tyro.conf.arg(metavar="X,Y")] = None
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    match: tyro.conf.OmitArgPrefixes[MatchOptions] = field(default_factory=MatchOptions)

    @property
    def attention_path(self) -> Path:
        """Where the picture of attention goes."""
        if self.viz is None:
            return Path("attention.png")
        return self.viz.with_stem(f"{self.viz.stem}_attention")


def parse(argv: Sequence[str]) -> MatchCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(MatchCommand, args=argv, prog="python -m matching")


def run(command: MatchCommand) -> str:
    """Matches two files and writes what was asked for; returns the line to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError; told in one line.
    """
    from data_scripts.image_files import read_image
    from data_scripts.stopwatch import Stopwatch

    _check_outputs(command)
    point = None if command.show_attention is None else parse_point(command.show_attention)
    images = read_image(command.image0), read_image(command.image1)
    predictor = _load(command)
    with Stopwatch() as took:
        sides = predictor.extract(images[0]), predictor.extract(images[1])
        matches = predictor.match(*sides, **asdict(command.match))
    if point is not None:
        _draw_attention(command, images, predictor, sides, point)
    _write(command, images, matches)
    mean = f", mean confidence {matches.confidence.mean():.3f}" if len(matches) else ""
    return f"{len(matches)} matches{mean}, {took}"


def _check_outputs(command: MatchCommand) -> None:
    """Raises before the work if its results could not be written."""
    from data_scripts.atomic import keep_apart, writable
    from data_scripts.figure_file import PICTURE_SUFFIXES
    from matching.field_files import SUFFIXES

    if command.output is not None:
        writable(command.output, SUFFIXES)
    if command.viz is not None or command.show_attention is not None:
        writable(command.viz or command.attention_path, PICTURE_SUFFIXES)
    attention = None if command.show_attention is None else command.attention_path
    outputs = (command.output, command.viz, attention)
    keep_apart(outputs, (command.image0, command.image1))


def _load(command: MatchCommand) -> "MatchPredictor":
    from attention_ops.precision import chosen_dtype
    from matching.predictor import load_predictor

    return load_predictor(
        command.weights,
        device=command.device,
        dtype=chosen_dtype(command.dtype),
        long_side=command.long_side,
    )


def _draw_attention(
    command: MatchCommand,
    images: "tuple[np.ndarray, np.ndarray]",
    predictor: "MatchPredictor",
    sides: "tuple[ImageFeatures, ImageFeatures]",
    point: tuple[float, float],
) -> None:
    from matching.attention_view import trace_attention
    from matching.draw import draw_attention

    trace = trace_attention(predictor, *sides, point)
    draw_attention(*images, trace, command.attention_path)


def _write(
    command: MatchCommand, images: "tuple[np.ndarray, np.ndarray]", matches: "Matches"
) -> None:
    if command.output is not None:
        from matching.export import PairInfo, write_matches

        (H0, W0), (H1, W1) = images[0].shape[:2], images[1].shape[:2]
        pair = PairInfo(str(command.image0), str(command.image1), H0, W0, H1, W1)
        write_matches(command.output, matches, pair)
    if command.viz is not None:
        from matching.draw import draw_matches

        draw_matches(*images, matches, command.viz)


def parse_point(text: str) -> tuple[float, float]:
    """A point in pixels that is written as X,Y."""
    words = text.split(",")
    try:
        x, y = (float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"--show-attention must be X,Y in pixels, got {text!r}") from error
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"--show-attention must be finite, got {text!r}")
    return x, y
