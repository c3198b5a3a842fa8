"""`python -m matching batch`: matches many pairs of a folder of images; can be stopped at any moment."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from data_scripts.command_line import check_counts
from data_scripts.long_run import check_some_done, locked, open_run, progress_bar
from matching.options import DEFAULT_LONG_SIDE, MatchOptions

if TYPE_CHECKING:
    from matching.batch_run import Run
    from matching.feature_store import FeatureStore
    from matching.pair_lists import PairList
    from matching.predictor import MatchPredictor


@dataclass(frozen=True)
class BatchCommand:
    """Match many pairs of a folder of images, into shards of HDF5 below --out.

    Features are made once per image. Images that cannot be read are told in failures.csv and skipped. The
    same command takes up a run that was stopped, by Ctrl-C or a kill, and ends with the same files.

    Args:
        images: Folder of images, searched recursively.
        out: Folder for the shards; a run of the same command there goes on where it was.
        pairs: List of pairs to match: .json, or text with two names below --images a line.
        exhaustive: Match every two images.
        sequential: Match every image with so many that follow it by name.
        retrieve: Match every image with so many that look most alike.
        retry: Try again what failed in an earlier run of this command.
        weights: Name of shipped weights, or a checkpoint file.
        long_side: Longest side in pixels that the network sees; None keeps every image's size.
        batch_size: Pairs of equal size that run together; None: 1 on a CPU, 8 else.
        shard_pairs: Pairs in a file; at most so many are lost by a kill.
        memory_gb: Gibibytes of features kept in memory.
        disk_gb: Gibibytes of features kept below --out while the run lasts, where memory has no room.
        device: cpu, cuda or cuda:N.
        dtype: Number format of the network; auto takes bfloat16 where the processor has it.
        engine: local, or ray: the pairs are matched by a Ray cluster, that of RAY_ADDRESS or one on this
            machine alone, to the same files; wants the extra quadview[ray].
        actors: With ray, processes that match; None: one for each device.
        match: Which matches to look for and to keep. A second look and an aligned one make features anew
            for each of their pairs, so they are off unless asked for.
    """

    images: Path
    out: Path
    pairs: Path | None = None
    exhaustive: bool = False
    sequential: int | None = None
    retrieve: int | None = None
    retry: bool = False
    weights: str = "small"
    long_side: int | None = DEFAULT_LONG_SIDE
    batch_size: int | None = None
    shard_pairs: int = 64
    memory_gb: float = 2.0
    disk_gb: float = 50.0
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    engine: Literal["local", "ray"] = "local"
    actors: int | None = None
    match: tyro.conf.OmitArgPrefixes[MatchOptions] = field(
        default_factory=lambda: MatchOptions(second_look=0, align=False)
    )

    def __post_init__(self) -> None:
        chosen = [self.pairs is not None, self.exhaustive]
        chosen += [self.sequential is not None, self.retrieve is not None]
        if sum(chosen) != 1:
            raise ValueError(
                "wanted one of --pairs FILE, --exhaustive, --sequential N and --retrieve K, got "
                f"{sum(chosen) or 'none'}"
            )
        check_counts(self, "sequential", "retrieve", "shard_pairs", "batch_size", "actors")


def parse(argv: Sequence[str]) -> BatchCommand:
    """The command that `argv` spells; exits with a message where it spells none."""
    return tyro.cli(BatchCommand, args=argv, prog="python -m matching batch")


def run(command: BatchCommand) -> str:
    """Matches what is not matched yet; returns the lines to print.

    Raises:
        ValueError: anything that the user can mend, as TypeError and OSError.
        KeyboardInterrupt: stopped; all whole shards are kept.
    """
    from matching.batch_run import FORMAT

    # What can be wrong with the words is told before torch is loaded and anything is written.
    known = _known_pairs(command)
    plan = _plan(command, known)
    with locked(command.out):
        open_run(command.out, {"format": FORMAT, **plan})
        return _match(command, known)


def _known_pairs(command: BatchCommand) -> "PairList":
    """The pairs; none yet, only names, where they must be retrieved first."""
    from matching import pair_lists

    names = pair_lists.image_names(command.images)
    if command.pairs is not None:
        return pair_lists.listed(command.pairs)
    if len(names) < 2:
        raise ValueError(f"{command.images}: wanted two images or more, got {names[0]} alone")
    if command.sequential is not None:
        return pair_lists.sequential(names, command.sequential)
    if command.exhaustive:
        return pair_lists.exhaustive(names)
    return pair_lists.PairList(names, pair_lists.NO_PAIRS)


def _plan(command: BatchCommand, known: "PairList") -> dict[str, Any]:
    """Everything that decides what the shards hold."""
    from matching.predictor import weights_path

    weights = hashlib.sha256(weights_path(command.weights).read_bytes()).hexdigest()
    pairs = hashlib.sha256("\0".join(known.names).encode() + known.pairs.tobytes()).hexdigest()
    same = ("retrieve", "long_side", "batch_size", "shard_pairs", "device", "dtype")
    settings = {name: getattr(command, name) for name in same} | asdict(command.match)
    # Another folder may have images of the same names.
    counts = {
        "folder": str(command.images.resolve()),
        "images": len(known.names),
        "pairs": len(known),
    }
    return {**counts, "pairs_sha256": pairs, "weights_sha256": weights, **settings}


def _match(command: BatchCommand, known: "PairList") -> str:
    from attention_ops.precision import chosen_dtype
    from matching.batch_run import Run, finish, forget_failures
    from matching.descriptors import retrieved_pairs
    from matching.feature_store import FeatureStore, StoreLimits
    from matching.predictor import load_predictor

    limits = StoreLimits(command.memory_gb, command.disk_gb)
    predictor = load_predictor(
        command.weights,
        device=command.device,
        dtype=chosen_dtype(command.dtype),
        long_side=command.long_side,
    )
    store = FeatureStore(
        predictor, command.images.resolve(), known.names, command.out / "features", limits,
        command.match.turns,
    )  # fmt: skip
    bad_images: dict[str, str] = {}
    try:
        if command.retrieve is not None:
            folder = command.out / "descriptors"
            with progress_bar(len(known.names), 0, "image") as bar:
                known, bad_images = retrieved_pairs(
                    store, known.names, folder, command.retrieve, bar.update, retry=command.retry
                )
        batch = Run(command.out, known, command.shard_pairs)
        if command.retry:
            forget_failures(batch)
        extracted = _match_all(command, batch, predictor, store)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(command.out, bad_images)) from None
    summary = finish(batch, bad_images)
    failed = summary.pairs_failed
    check_some_done(command.out, summary.pairs - failed, failed)
    return "\n".join(
        [
            f"{summary.pairs} pairs of {summary.images} images: {summary.pairs_with_matches} with "
            f"{summary.matches} matches, {summary.pairs_without_matches} without, "
            f"{failed} failed; {summary.images_failed} images could not be read",
            f"features of {extracted} images made; everything is in {command.out}, checked",
        ]
    )


def _match_all(
    command: BatchCommand, batch: "Run", predictor: "MatchPredictor", store: "FeatureStore"
) -> int:
    """Makes all shards; how many times the network ran on an image."""
    from matching.batch_run import match_missing

    before = len(batch.pairs) - sum(len(batch.numbers(shard)) for shard in batch.missing())
    with progress_bar(len(batch.pairs), before, "pair") as bar:
        if command.engine == "ray":
            return store.extracted + _match_by_ray(command, batch, bar.update)
        match_missing(batch, predictor, store, command.match, command.batch_size, bar.update)
    return store.extracted


def _match_by_ray(command: BatchCommand, batch: "Run", done: Callable[[int], object]) -> int:
    from matching import batch_ray
    from matching.feature_store import StoreLimits
    from matching.predictor import weights_path

    work = batch_ray.Work(
        run=replace(batch, out=command.out.resolve()),  # actors have another working directory
        images=command.images.resolve(),
        weights=str(weights_path(command.weights).resolve()),
        device=command.device,
        dtype=command.dtype,
        long_side=command.long_side,
        limits=StoreLimits(command.memory_gb, command.disk_gb),
        options=command.match,
        batch_size=command.batch_size,
    )
    return batch_ray.match_missing(work, command.actors, done)


def _stopped(out: Path, bad_images: dict[str, str]) -> str:
    """Brings failures.csv up to date; what to tell who pressed Ctrl-C."""
    from matching.batch_run import write_failures

    write_failures(out, bad_images)
    return f"all whole shards are in {out}; the same command goes on from there"
