"""The command that takes two image files. Torch is imported only after the words are understood."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from stereo.options import StereoOptions

if TYPE_CHECKING:
    import numpy as np

    from data_scripts.stopwatch import Stopwatch
    from stereo.disparity import Disparity
    from stereo.predictor import StereoPredictor


@dataclass(frozen=True)
class StereoCommand:
    """Disparity of a rectified pair.

    Other things to do, each with its own --help: batch, bench, convert, export, train, as in
    `python -m stereo train --help`.

    Args:
        left: Left image file.
        right: Right image file, of the same size.
        output: Write the disparity here, in pixels of the left image: .pfm, .png (256 times the
            disparity in 16 bits, as KITTI), .npy, or .h5 (with occlusion and confidence).
        viz: Write a picture here: .png, .jpg, .pdf or .svg.
        ply: Write the coloured points here, .ply in metres; wants --focal-px and --baseline-m.
        focal_px: Focal length in pixels of the images.
        baseline_m: Distance of the cameras in metres.
        doffs_px: X of the right principal point less that of the left one, in pixels.
        gt: True disparity: .pfm, .png (16-bit), .npy or .h5. The error is told, and drawn with --viz.
        weights: Name of shipped weights, or a checkpoint file.
        device: cpu, cuda or cuda:N.
        dtype: Number format of the network; auto takes bfloat16 where the processor has it.
        options: How the pair is brought to the network.
    """

    left: tyro.conf.Positional[Path]
    right: tyro.conf.Positional[Path]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    viz: Path | None = None
    ply: Path | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    doffs_px: float = 0.0
    gt: Path | None = None
    weights: str = "small"
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    options: tyro.conf.OmitArgPrefixes[StereoOptions] = field(default_factory=StereoOptions)


def parse(argv: Sequence[str]) -> StereoCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(StereoCommand, args=argv, prog="python -m stereo")


def run(command: StereoCommand) -> str:
    """Predicts, writes what was asked for, and returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError; told in one line.
    """
    from data_scripts.image_files import read_image
    from data_scripts.stopwatch import Stopwatch

    _check_outputs(command)
    left, right = read_image(command.left), read_image(command.right)
    truth = _truth(command, left)
    predictor = _load(command)
    with Stopwatch() as took:
        found = predictor.predict(left, right)
    _write(command, left, found, truth)
    return "\n".join([_summary(found, took), *_error_line(found, truth)])


def _check_outputs(command: StereoCommand) -> None:
    """Raises before the work if its results could not be written."""
    from data_scripts.atomic import keep_apart, writable
    from data_scripts.disparity_files import WRITERS
    from data_scripts.figure_file import PICTURE_SUFFIXES

    if command.output is not None:
        writable(command.output, tuple(WRITERS))
    if command.viz is not None:
        writable(command.viz, PICTURE_SUFFIXES)
    if command.ply is not None:
        writable(command.ply, (".ply",))
        for name, value in (("focal-px", command.focal_px), ("baseline-m", command.baseline_m)):
            if value is None or not 0 < value < float("inf"):
                raise ValueError(f"--ply wants a positive --{name}, got {value}")
    outputs = (command.output, command.viz, command.ply)
    keep_apart(outputs, (command.left, command.right, command.gt))


def _truth(command: StereoCommand, left: "np.ndarray") -> "np.ndarray | None":
    if command.gt is None:
        return None
    from data_scripts.disparity_files import read_disparity

    truth = read_disparity(command.gt)
    if truth.shape != left.shape[:2]:
        raise ValueError(
            f"{command.gt}: wanted the size of the left image, {left.shape[:2]}, got {truth.shape}"
        )
    return truth


def _load(command: StereoCommand) -> "StereoPredictor":
    from attention_ops.precision import chosen_dtype
    from stereo.predictor import load_predictor

    return load_predictor(
        command.weights,
        device=command.device,
        dtype=chosen_dtype(command.dtype),
        **asdict(command.options),
    )


def _write(
    command: StereoCommand, left: "np.ndarray", found: "Disparity", truth: "np.ndarray | None"
) -> None:
    if command.output is not None:
        from data_scripts.disparity_files import write_disparity

        beside = {"occlusion": found.occlusion, "confidence": found.confidence}
        notes = f"{command.left} {command.right}, weights {command.weights}"
        write_disparity(command.output, found.disparity, beside, notes)
    if command.viz is not None:
        from stereo.draw import draw_disparity

        draw_disparity(left, found, command.viz, truth=truth)
    if command.ply is not None and command.focal_px and command.baseline_m:
        from stereo.point_cloud import Calibration, back_project, write_ply

        calibration = Calibration(command.focal_px, command.baseline_m, command.doffs_px)
        write_ply(command.ply, back_project(left, found, calibration))


def _summary(found: "Disparity", took: "Stopwatch") -> str:
    import numpy as np

    low, middle, high = np.percentile(found.disparity, [1, 50, 99])
    hidden = 100 * (found.occlusion > 0.5).mean()
    return (
        f"disparity {low:.1f} to {high:.1f} px (1 to 99 %), median {middle:.1f}, "
        f"{hidden:.1f} % occluded, {took}"
    )


def _error_line(found: "Disparity", truth: "np.ndarray | None") -> list[str]:
    """What there is to say of the error on all known pixels, occluded ones too."""
    import numpy as np

    if truth is None:
        return []
    error = np.abs(found.disparity - truth)[np.isfinite(truth)]
    if not error.size:
        return ["error: nothing is known in the true disparity"]
    bad = 100 * (error > 2).mean()
    return [
        f"error on {error.size} known pixels: mean {error.mean():.3f} px, {bad:.2f} % above 2 px"
    ]
