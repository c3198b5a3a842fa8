"""`python -m stereo batch`: disparities of folders or videos of rectified pairs; can be stopped at any moment."""

from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import tyro

from data_scripts.command_line import check_counts
from data_scripts.long_run import (
    check_some_done,
    locked,
    open_run,
    progress_bar,
    write_csv,
    write_json,
)
from stereo.options import StereoOptions

if TYPE_CHECKING:
    from stereo.pair_sources import NamedPair, PairSource
    from stereo.predictor import StereoPredictor

Told: TypeAlias = Callable[[str, str], object]  # hears a pair's name, and why it failed or nothing
Predict: TypeAlias = Callable[[Container[str], Told], None]  # does the pairs that are not done
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
        engine: local, or ray: the pairs are done by a Ray cluster, that of RAY_ADDRESS or one on this
            machine alone, to the same files; wants the extra quadview[ray].
        actors: With ray, processes that predict; None: one for each device.
        options: How a pair is brought to the network.
    """

    left: Path
    out: Path
    right: Path | None = None
    format: Literal["pfm", "png", "npy", "h5"] = "pfm"
    weights: str = "small"
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    engine: Literal["local", "ray"] = "local"
    actors: int | None = None
    options: tyro.conf.OmitArgPrefixes[StereoOptions] = field(default_factory=StereoOptions)

    def __post_init__(self) -> None:
        check_counts(self, "actors")

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
    from stereo.pair_sources import open_source

    source = open_source(command.left, command.right)
    predict_missing = (_by_ray if command.engine == "ray" else _here)(command, source)
    with locked(command.out):
        _open_run(command)
        return _predict_all(command, source, predict_missing)


def _predict_all(command: BatchCommand, source: "PairSource", predict_missing: Predict) -> str:
    before = _done(command)
    failures: list[tuple[str, str]] = []

    def told(name: str, error: str) -> None:
        failures.extend([(name, error)] if error else [])
        bar.update()

    try:
        with progress_bar(len(source), len(before), "pair") as bar:
            predict_missing(before, told)
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


def _here(command: BatchCommand, source: "PairSource") -> Predict:
    """Predicts in this process."""
    from stereo.predictor import weights_path

    predictor = load(command, weights_path(command.weights))
    command = replace(command, out=command.out.resolve())

    def predict_missing(done: Container[str], told: Told) -> None:
        for pair in source.pairs(done):
            told(pair.name, predict_file(command, predictor, pair))

    return predict_missing


def _by_ray(command: BatchCommand, source: "PairSource") -> Predict:
    """Predicts on a Ray cluster."""
    from stereo import batch_ray
    from stereo.predictor import weights_path

    command = replace(command, out=command.out.resolve())  # actors have another working directory
    work = batch_ray.Work(command, weights_path(command.weights).resolve(), source)

    def predict_missing(done: Container[str], told: Told) -> None:
        missing = [name for name in source.names() if name not in done]
        batch_ray.predict_missing(work, missing, told)

    return predict_missing


def load(command: BatchCommand, weights: Path) -> "StereoPredictor":
    """The predictor that a command wants, with the weights of that file."""
    from attention_ops.precision import chosen_dtype
    from stereo.predictor import load_predictor

    return load_predictor(
        weights, device=command.device, dtype=chosen_dtype(command.dtype), **asdict(command.options)
    )


def predict_file(command: BatchCommand, predictor: "StereoPredictor", pair: "NamedPair") -> str:
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
    """Writes what failed and counts the files that are there; the lines to print.

    Raises:
        ValueError: no pair has a disparity, and each was tried.
    """
    write_csv(command.out / "failures.csv", ("pair", "error"), sorted(failures))
    done = len(_done(command))
    counts: dict[str, Any] = {"disparities": done, "failed": len(failures)}
    write_json(command.out / "summary.json", counts)
    check_some_done(command.out, done, len(failures))
    return f"{done} disparities, {len(failures)} pairs failed; everything is in {command.out}"
