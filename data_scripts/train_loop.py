"""The loop that trains any network: steps, validation, its state on disk, several processes.

Every few minutes the whole state is written to OUT/last.pt (atomically) and a later run with the same OUT
goes on from it. What a batch is and what it costs is the business of `matching.train` and `stereo.train`.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from data_scripts import command_line
from data_scripts.train_state import TrainState, average_gradients, load_state, save_state

logger = logging.getLogger(__name__)

VALIDATION_SEED = 977  # batches of this seed are never trained on
NOT_NEGATIVE = (
    "minutes",
    "learning_rate",
    "weight_decay",
    "warmup",
    "cooldown",
    "workers",
    "threads",
    "save_minutes",
)  # of LoopSettings

Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")
Report = Mapping[str, float]  # numbers of one step for people; `loss` first


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long and how fast to train.

    Attributes:
        out: folder of the state, the weights and the log.
        steps: optimiser steps in all; a later run with more steps goes on.
        minutes: stop after this long, whatever the step.
        learning_rate: peak of AdamW's rate; rises over `warmup` steps, falls over the last `cooldown`.
        save_minutes: how often the state is written.
        validate_every: steps between validations.
        hold_out: every so many-th photo is kept for validation.

    Raises:
        ValueError: a number with which no training can go on.
    """

    out: Path = Path("out/train")
    steps: int = 20_000
    minutes: float = float("inf")
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 200
    cooldown: int = 500
    clip: float = 1.0
    average: float = 0.998  # decay of the moving average of the weights
    seed: int = 0
    workers: int = 1
    threads: int = 0  # of torch; 0 = as many as torch thinks
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    save_minutes: float = 3.0
    validate_every: int = 250
    validation_batches: int = 4
    hold_out: int = 12

    def __post_init__(self) -> None:
        command_line.check_counts(self, "steps", "validate_every", "validation_batches")
        if self.hold_out < 2:
            raise ValueError(
                f"--hold-out must be 2 or more, or no photo is left to train on, got {self.hold_out}"
            )
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if not value >= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be 0 or more, got {value}")
        if not self.clip > 0:
            raise ValueError(f"--clip must be positive, got {self.clip}")
        if not 0 <= self.average < 1:
            raise ValueError(f"--average must be in [0, 1), got {self.average}")


Settings = TypeVar("Settings", bound=LoopSettings)


@dataclass(frozen=True)
class Task(Generic[Network, Batch]):
    """What one kind of network adds to the loop."""

    loss: Callable[[Network, Batch, torch.Generator], tuple[Tensor, Report]]
    moved: Callable[[Batch, torch.device], Batch]  # the batch on another device
    save: Callable[[Path, Network, Mapping[str, Any]], None]  # weights with their card
    weights_name: str  # of the file in OUT
    mixed: bool  # run the network in bfloat16


def run_command(
    prog: str, parse: Callable[[], Settings], train: Callable[[Settings], object]
) -> int:
    """Calls `train` with what `parse` gives, as a command does.

    Returns:
        0, 2 after one line for an input that is not as it must be, or 130 after Ctrl-C.
    """

    def work() -> None:
        settings = parse()
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        if settings.threads:
            torch.set_num_threads(settings.threads)
        cv2.setNumThreads(0)  # a loader process forked after OpenCV started threads would hang
        train(settings)

    kept = "the same command goes on from last.pt, as it was last written"
    return command_line.run_command(prog, work, (ValueError, OSError), kept)


def resumed(settings: LoopSettings, network: Network) -> TrainState[Network]:
    """The state of the run in OUT, or one at its start with `network` as it is."""
    state = TrainState.fresh(network, settings.learning_rate, settings.weight_decay)
    settings.out.mkdir(parents=True, exist_ok=True)
    if load_state(settings.out / "last.pt", state):
        logger.info("going on from step %d of %s", state.step, settings.out / "last.pt")
    return state


def run(
    settings: LoopSettings,
    task: Task[Network, Batch],
    state: TrainState[Network],
    batches: Iterator[Batch],
    checks: Sequence[Batch],
    world: int,
) -> None:
    """Trains until the last step or the time limit.

    Args:
        settings: how long and how fast.
        task: of the network.
        state: changed in place.
        batches: from the step that `state` stands at.
        checks: validation batches; empty on every process but the first.
        world: number of processes.
    """
    device = torch.device(settings.device)
    began = saved = time.monotonic()
    bar = tqdm(
        total=settings.steps, initial=state.step, disable=not checks, unit="step", smoothing=0.1
    )
    for batch in batches:
        report = _step(settings, task, state, task.moved(batch, device), world)
        bar.update()
        bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in report.items()))
        now = time.monotonic()
        late = now - began > 60 * settings.minutes
        last = late or state.step == settings.steps
        if checks and (last or state.step % settings.validate_every == 0):
            _validate(settings, task, state, checks)
        if checks and (last or now - saved > 60 * settings.save_minutes):
            saved = now
            save_state(settings.out / "last.pt", state)
        if last:
            break
    bar.close()


def _step(
    settings: LoopSettings,
    task: Task[Network, Batch],
    state: TrainState[Network],
    batch: Batch,
    world: int,
) -> Report:
    """One optimiser step; left out, and counted, where a gradient is not finite."""
    generator = torch.Generator().manual_seed((settings.seed << 32) + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    state.network.train()
    with torch.autocast(torch.device(settings.device).type, torch.bfloat16, task.mixed):
        loss, report = task.loss(state.network, batch, generator)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(state.network, world)
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    if torch.isfinite(norm):
        state.optimiser.step()
    else:
        state.skipped += 1
        logger.warning("step %d left out: a gradient is not finite", state.step)
    state.step += 1
    state.update_average(settings.average)
    return report


def learning_rate(settings: LoopSettings, step: int) -> float:
    """Rate of a step: linear rise, constant, linear fall to a hundredth over the last steps."""
    rise = min(1.0, (step + 1) / max(1, settings.warmup))
    fall = min(1.0, max(0.01, (settings.steps - step) / max(1, settings.cooldown)))
    return settings.learning_rate * rise * fall


def _validate(
    settings: LoopSettings,
    task: Task[Network, Batch],
    state: TrainState[Network],
    checks: Sequence[Batch],
) -> None:
    """Scores the averaged weights, appends a line to OUT/log.jsonl and writes the weights."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    device = torch.device(settings.device)
    with torch.no_grad():
        reports = [task.loss(state.average, task.moved(b, device), generator)[1] for b in checks]
    means = {name: sum(report[name] for report in reports) / len(reports) for name in reports[0]}
    line = {"step": state.step, "skipped": state.skipped} | means
    with (settings.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    tqdm.write("validation " + " ".join(f"{key} {value:.4g}" for key, value in line.items()))
    plain = json.loads(json.dumps(asdict(settings), default=str))
    card = {"steps": state.step, "validation": means, "settings": plain}
    task.save(settings.out / task.weights_name, state.average, card)


def batches_from(
    dataset: Dataset[Batch], start: int, stop: int, stride: int, workers: int
) -> Iterator[Batch]:
    """Batches number start, start + stride, ... below stop, made by `workers` processes."""
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, stop, stride),
        num_workers=workers,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
    )
    return iter(loader)


def _start_worker(_: int) -> None:
    """A loader's worker takes one thread: the training itself needs the others."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
