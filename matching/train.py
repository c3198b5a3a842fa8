"""`python -m matching train`: trains a matcher on synthetic pairs made from a folder of photographs.

Runs on one device or, under torchrun, on several. Every few minutes the whole state is written to
OUT/last.pt (atomically) and a later run with the same OUT goes on from it; the averaged weights go to
OUT/matcher.safetensors, which `load_predictor` reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from attention_ops.precision import chosen_device, fast_dtype
from data_scripts.photo_training import Photos, PhotoSettings, train_on_photos
from data_scripts.train_loop import Task, run_command
from matching.checkpoint import load_checkpoint, save_checkpoint
from matching.config import PRESETS, MatcherConfig
from matching.data import Batch, PairBatches, PairSettings, training_pairs, validation_pairs
from matching.model import Matcher, build_matcher
from matching.train_step import MATCHES_PER_PAIR, step_loss

PROG = "python -m matching train"


@dataclass(frozen=True, kw_only=True)
class TrainSettings(PhotoSettings):
    """What and how to train.

    Attributes:
        preset: which matcher.
        start: weights to begin from (.safetensors of the same preset), where OUT holds no state.
        fine_only: leave trunk, transformer and coarse matching as they are. A step takes a third of the
            time and looks at more matches.
    """

    preset: str = "small"
    start: Path | None = None
    fine_only: bool = False
    pairs: PairSettings = field(default_factory=PairSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says; 0 at the last step or the time limit, 2 on a wrong input."""
    return run_command(
        PROG, lambda: tyro.cli(TrainSettings, args=argv, prog=PROG, description=__doc__), train
    )


def train(settings: TrainSettings) -> Matcher:
    """Runs the training and returns the matcher with averaged weights."""
    if settings.preset not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {settings.preset!r}")
    config = PRESETS[settings.preset]
    torch.manual_seed(settings.seed)
    matcher = build_matcher(config)
    if settings.start is not None:
        started, _, _ = load_checkpoint(settings.start)
        matcher.load_state_dict(started.state_dict())
    return train_matcher(settings, matcher, config)


def train_matcher(settings: TrainSettings, matcher: Matcher, config: MatcherConfig) -> Matcher:
    """Trains `matcher`, made from `config`, as `settings` say; their preset and start play no part.

    Returns:
        The matcher with averaged weights; OUT holds them too.
    """
    pairs, centre = settings.pairs, matcher.cell_centre
    if settings.fine_only:
        matcher.requires_grad_(requires_grad=False)
        matcher.fine.requires_grad_()

    def training(photos: Photos, textures: Photos) -> PairBatches:
        return training_pairs(pairs, centre, settings.seed, photos, textures)

    def validation(photos: Photos, _: Photos) -> PairBatches:
        return validation_pairs(pairs, centre, photos)

    return train_on_photos(settings, matcher, _task(settings, config), training, validation)


def _task(settings: TrainSettings, config: MatcherConfig) -> Task[Matcher, Batch]:
    """What the loop must know of matchers."""
    matches = MATCHES_PER_PAIR * (4 if settings.fine_only else 1)

    def loss(
        matcher: Matcher, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        if settings.fine_only:  # no running means of what stays as it is
            matcher.trunk.eval()
            matcher.transformer.eval()
        value, report = step_loss(matcher, batch, generator, matches)
        return value, asdict(report)

    def save(path: Path, matcher: Matcher, card: Mapping[str, Any]) -> None:
        save_checkpoint(path, matcher, config, card)

    mixed = fast_dtype(chosen_device(settings.device)) is torch.bfloat16
    return Task(loss, Batch.to, save, "matcher.safetensors", mixed)
