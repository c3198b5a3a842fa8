"""`python -m matching train`: trains a matcher on synthetic pairs made from a folder of photographs.

Runs on one device or, under torchrun, on several. Every few minutes the whole state is written to
OUT/last.pt (atomically) and a later run with the same OUT goes on from it; the averaged weights go to
OUT/matcher.safetensors, which `load_predictor` reads.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import cv2
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from attention_ops.cpu import has_fast_bfloat16
from data_scripts.photos import PhotoFolder
from data_scripts.train_state import (
    TrainState,
    average_gradients,
    join_processes,
    load_state,
    save_state,
)
from matching.checkpoint import load_checkpoint, save_checkpoint
from matching.config import PRESETS
from matching.data import Batch, PairBatches, PairSettings, batches_from
from matching.model import Matcher, build_matcher
from matching.real_pairs import real_pairs
from matching.train_step import StepReport, step_loss

logger = logging.getLogger(__name__)

VALIDATION_SEED = 977  # batches of this seed are never trained on


@dataclass(frozen=True)
class TrainSettings:
    """What and how to train.

    Attributes:
        photos: folder of photographs, searched recursively.
        textures: folder of more images, for the surfaces of ray-cast scenes only.
        out: folder of the state, the weights and the log.
        preset: which matcher.
        start: weights to begin from (.safetensors of the same preset), where OUT holds no state.
        steps: optimiser steps in all; a later run with more steps goes on.
        minutes: stop after this long, whatever the step.
        learning_rate: peak of AdamW's rate; rises over `warmup` steps, falls over the last `cooldown`.
        save_minutes: how often the state is written.
        validate_every: steps between validations.
        hold_out: every so many-th photo is kept for validation.
    """

    photos: Annotated[Path, tyro.conf.arg(aliases=("-p",))]
    textures: Path | None = None
    out: Path = Path("out/train")
    preset: str = "small"
    start: Path | None = None
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
    pairs: PairSettings = field(default_factory=PairSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says; 0 at the last step or the time limit, 2 on a wrong input."""
    settings = tyro.cli(
        TrainSettings, args=argv, prog="python -m matching train", description=__doc__
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    cv2.setNumThreads(0)  # a loader process forked after OpenCV started threads would hang
    try:
        train(settings)
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m matching train: {error}", file=sys.stderr)
        return 2
    return 0


def train(settings: TrainSettings) -> Matcher:
    """Runs the training and returns the matcher with averaged weights."""
    if settings.preset not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {settings.preset!r}")
    rank, world = join_processes(settings.device)
    torch.manual_seed(settings.seed)
    matcher = build_matcher(PRESETS[settings.preset])
    # torch's stubs do not know the memory_format argument
    matcher = matcher.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.start is not None:
        started, _, _ = load_checkpoint(settings.start)
        matcher.load_state_dict(started.state_dict())
    state = TrainState.fresh(matcher, settings.learning_rate, settings.weight_decay)
    settings.out.mkdir(parents=True, exist_ok=True)
    if load_state(settings.out / "last.pt", state):
        logger.info("going on from step %d of %s", state.step, settings.out / "last.pt")
    photos = PhotoFolder(settings.photos)
    kept = [photo for number, photo in enumerate(photos) if number % settings.hold_out]
    real = real_pairs(settings.pairs.real)
    textures = PhotoFolder(settings.textures) if settings.textures else ()
    data = PairBatches(kept, settings.pairs, matcher.cell_centre, settings.seed, real, textures)
    start, stop = state.step * world + rank, settings.steps * world
    batches = batches_from(data, start, stop, world, settings.workers)
    if rank == 0:
        held_out = photos[:: settings.hold_out]
        plain = replace(settings.pairs, sizes=((256, 256),), easy=0.6, ramp=10**9)
        validation = PairBatches(held_out, plain, matcher.cell_centre, VALIDATION_SEED)
        checks = [validation[number] for number in range(settings.validation_batches)]
    else:
        checks = []
    _run(settings, state, batches, checks, world)
    return state.average


def _run(
    settings: TrainSettings,
    state: TrainState[Matcher],
    batches: Iterator[Batch],
    checks: list[Batch],
    world: int,
) -> None:
    """The loop; `checks` are the validation batches, empty on every process but the first."""
    device = torch.device(settings.device)
    began = saved = time.monotonic()
    bar = tqdm(
        total=settings.steps, initial=state.step, disable=not checks, unit="step", smoothing=0.1
    )
    for batch in batches:
        report = _step(settings, state, batch.to(device), world)
        bar.update()
        bar.set_postfix_str(
            f"loss {report.loss:.3f} recall {report.recall:.2f} "
            f"precision {report.precision:.2f} fine {report.fine_px:.2f} px"
        )
        now = time.monotonic()
        late = now - began > 60 * settings.minutes
        last = late or state.step == settings.steps
        if checks and (last or state.step % settings.validate_every == 0):
            _validate(settings, state, checks)
        if checks and (last or now - saved > 60 * settings.save_minutes):
            saved = now
            save_state(settings.out / "last.pt", state)
        if last:
            break
    bar.close()


def _step(
    settings: TrainSettings, state: TrainState[Matcher], batch: Batch, world: int
) -> StepReport:
    """One optimiser step; left out, and counted, where a gradient is not finite."""
    generator = torch.Generator().manual_seed((settings.seed << 32) + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    state.network.train()
    with torch.autocast(batch.image0.device.type, torch.bfloat16, _fast_bfloat16(batch.image0)):
        loss, report = step_loss(state.network, batch, generator)
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


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Rate of a step: linear rise, constant, linear fall to a hundredth over the last steps."""
    rise = min(1.0, (step + 1) / settings.warmup)
    fall = min(1.0, max(0.01, (settings.steps - step) / settings.cooldown))
    return settings.learning_rate * rise * fall


def _fast_bfloat16(image: Tensor) -> bool:
    """Whether bfloat16 is faster than float32 on this device."""
    return image.is_cuda or has_fast_bfloat16()


def _validate(settings: TrainSettings, state: TrainState[Matcher], checks: list[Batch]) -> None:
    """Scores the averaged weights, appends a line to OUT/log.jsonl and writes the weights."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    with torch.no_grad():
        device = torch.device(settings.device)
        reports = [step_loss(state.average, batch.to(device), generator)[1] for batch in checks]
    means = {
        name: sum(getattr(report, name) for report in reports) / len(reports)
        for name in vars(reports[0])
    }
    line = {"step": state.step, "skipped": state.skipped} | means
    with (settings.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    tqdm.write("validation " + " ".join(f"{key} {value:.4g}" for key, value in line.items()))
    card = {"steps": state.step, "validation": means, "settings": _plain(settings)}
    path = settings.out / "matcher.safetensors"
    save_checkpoint(path, state.average, PRESETS[settings.preset], card)


def _plain(settings: TrainSettings) -> dict[str, object]:
    """Settings as JSON can hold them."""
    return json.loads(json.dumps(asdict(settings), default=str))
