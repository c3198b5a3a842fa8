"""`python -m stereo batch`: disparities of folders or videos of rectified pairs; can be stopped at any moment."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from data_scripts.long_run import open_run, progress_bar, write_csv, write_json
from stereo.options import StereoOptions

if TYPE_CHECKING:
    from stereo.pair_sources import NamedPair
    from stereo.predictor import StereoPredictor

FORMAT = 1  # raise when files of an older run would not fit those of a newer one


@dataclass(frozen=True)
class BatchCommand:
    """Disparities of all pairs in two folders or two videos, one file each below --out.

    A pair of folders goes by equal paths below both; a pair of videos by the number of the frame. Without
    --right, each picture shows left and right side by side. The same command takes up a run that was
    stopped, and tries again what failed.

    Args:
        left: Folder of images, searched recursively, or a video.
        right: The same for the right view.
        out: Folder for the disparities.
        format: Of the files: pfm, png (256 times the disparity, as KITTI), npy, or h5 (with occlusion and
            confidence).
        weights: Name of shipped weights, or a checkpoint file.
        device: cpu, cuda or cuda:N.
        dtype: Number format of the network; auto takes bfloat16 where the processor has it.
        options: How a pair is brought to the network.
    """

    left: Path
    out: Path
    right: Path | None = None
    format: Literal["pfm", "png", "npy", "h5"] = "pfm"
    weights: str = "small"
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    options: tyro.conf.OmitArgPrefixes[StereoOptions] = field(default_factory=StereoOptions)

    def file_of(self, name: str) -> Path:
        """Where the disparity of a pair goes."""
        return self.out / "disparities" / f"{name}.{self.format}"


def parse(argv: Sequence[str]) -> BatchCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(BatchCommand, args=argv, prog="python -m stereo batch")


def run(command: BatchCommand) -> str:
    """Predicts what is not there yet; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError.
        KeyboardInterrupt: stopped; all whole files are kept.
    """
    import torch

    from stereo.pair_sources import open_source
    from stereo.predictor import load_predictor

    source = open_source(command.left, command.right)
    dtype = None if command.dtype == "auto" else getattr(torch, command.dtype)
    predictor = load_predictor(
        command.weights, device=command.device, dtype=dtype, **asdict(command.options)
    )
    _open_run(command)
    before = _done(command)
    failures: list[tuple[str, str]] = []
    try:
        with progress_bar(len(source), len(before), "pair") as bar:
            for pair in source.pairs(before):
                error = _predict(command, predictor, pair)
                failures += [(pair.name, error)] if error else []
                bar.update()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"all whole files are in {command.out}; the same command goes on from there"
        ) from None
    return _finish(command, failures)


def _open_run(command: BatchCommand) -> None:
    """Begins a run below --out, or takes up the one there."""
    from stereo.predictor import weights_path

    plan = {
        "format": FORMAT,
        "left": str(command.left),
        "right": str(command.right),
        "files": command.format,
        "weights": weights_path(command.weights).stem,
        "dtype": command.dtype,
        **asdict(command.options),
    }
    open_run(command.out, plan)


def _done(command: BatchCommand) -> frozenset[str]:
    """Names of the pairs whose files are there: files appear whole, by a rename."""
    folder = command.out / "disparities"
    files = (path.relative_to(folder) for path in folder.rglob(f"*.{command.format}"))
    return frozenset(path.with_suffix("").as_posix() for path in files)


def _predict(command: BatchCommand, predictor: "StereoPredictor", pair: "NamedPair") -> str:
    """Writes the disparity of a pair; why there is none, or nothing."""
    from functools import partial

    from data_scripts.attempts import FailedPair, attempt
    from data_scripts.disparity_files import write_disparity

    if pair.left is None or pair.right is None:
        return pair.error
    found = attempt(partial(predictor.predict, pair.left, pair.right), record=True)
    if isinstance(found, FailedPair):
        return found.error
    path = command.file_of(pair.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = {"occlusion": found.occlusion, "confidence": found.confidence}
    notes = f"{pair.name}, weights {command.weights}"
    written = attempt(partial(write_disparity, path, found.disparity, beside, notes), record=True)
    return written.error if isinstance(written, FailedPair) else ""


def _finish(command: BatchCommand, failures: list[tuple[str, str]]) -> str:
    """Writes what failed and counts the files that are there; the lines to print."""
    write_csv(command.out / "failures.csv", ("pair", "error"), sorted(failures))
    done = len(_done(command))
    counts: dict[str, Any] = {"disparities": done, "failed": len(failures)}
    write_json(command.out / "summary.json", counts)
    return f"{done} disparities, {len(failures)} pairs failed; everything is in {command.out}"
