"""`python -m stereo train`: trains a stereo network on synthetic pairs made from a folder of photographs.

Runs on one device or, under torchrun, on several. Every few minutes the whole state is written to
OUT/last.pt (atomically) and a later run with the same OUT goes on from it; the averaged weights go to
OUT/stereo.safetensors, which `load_predictor` reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from attention_ops.precision import chosen_device, fast_dtype
from data_scripts.photo_training import Photos, PhotoSettings, train_on_photos
from data_scripts.train_loop import VALIDATION_SEED, Task, run_command
from stereo.checkpoint import load_checkpoint, save_checkpoint
from stereo.config import PRESETS
from stereo.data import Batch, PairSettings, StereoBatches
from stereo.losses import stereo_loss
from stereo.model import StereoNetwork, build_stereo
from stereo.real_pairs import real_pairs

PROG = "python -m stereo train"
BAD_PX = 2.0  # a disparity further off than this is reported as bad


@dataclass(frozen=True, kw_only=True)
class TrainSettings(PhotoSettings):
    """What and how to train.

    Attributes:
        preset: which network; one made of rows.
        start: weights to begin from, where OUT holds no state: those of the same preset, or of a
            matcher with the same trunk, whose stages are taken.
    """

    preset: str = "small"
    start: Path | None = None
    pairs: PairSettings = field(default_factory=PairSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says; 0 at the last step or the time limit, 2 on a wrong input."""
    return run_command(
        PROG, lambda: tyro.cli(TrainSettings, args=argv, prog=PROG, description=__doc__), train
    )


def train(settings: TrainSettings) -> StereoNetwork:
    """Runs the training and returns the network with averaged weights."""
    trainable = sorted(name for name, config in PRESETS.items() if config.network == "rows")
    if settings.preset not in trainable:
        raise ValueError(f"preset must be one of {trainable}, got {settings.preset!r}")
    torch.manual_seed(settings.seed)
    network = build_stereo(PRESETS[settings.preset])
    assert isinstance(network, StereoNetwork)
    if settings.start is not None:
        start_from(network, settings.start)
    pairs, plain = settings.pairs, replace(settings.pairs, sizes=((256, 384),))

    def training(photos: Photos, textures: Photos) -> StereoBatches:
        return StereoBatches(photos, pairs, settings.seed, textures, real_pairs(pairs.real))

    def validation(photos: Photos, textures: Photos) -> StereoBatches:
        return StereoBatches(photos, plain, VALIDATION_SEED, textures)

    return train_on_photos(settings, network, _task(settings), training, validation)


def start_from(network: StereoNetwork, path: Path) -> None:
    """Loads weights of the same preset, or the trunk's stages out of a matcher's checkpoint."""
    from safetensors.torch import load_file

    weights = load_file(path)
    stages = {
        name.removeprefix("trunk.stages."): value
        for name, value in weights.items()
        if name.startswith("trunk.stages.")
    }
    if "refiner.start.weight" in weights:
        started, _, _ = load_checkpoint(path)
        network.load_state_dict(started.state_dict())
        return
    try:
        network.trunk.stages.load_state_dict(stages)  # type: ignore[union-attr]
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise ValueError(
            f"{path} must hold the stages of this trunk, got others ({line}); "
            "give weights of the same preset"
        ) from error


def report(disparity: Tensor, occlusion: Tensor, batch: Batch) -> dict[str, float]:
    """Errors on pixels that both images show, and the share of pixels whose occlusion is told right."""
    seen = batch.known & ~batch.occluded
    error = (disparity - batch.disp).abs()[seen]
    told = ((occlusion > 0) == batch.occluded)[batch.known]
    return {
        "epe_px": float(error.mean()),
        "bad_2": float((error > BAD_PX).float().mean()),
        "occlusion_right": float(told.float().mean()),
    }


def _task(settings: TrainSettings) -> Task[StereoNetwork, Batch]:
    """What the loop must know of stereo networks."""

    def loss(
        network: StereoNetwork, batch: Batch, _: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        steps = network.steps(batch.left, batch.right)
        parts = stereo_loss(steps, batch)
        refined = steps.refinement
        numbers = {"loss": float(parts.total.detach())}
        numbers |= {name: float(value.detach()) for name, value in vars(parts).items()}
        disparity, occlusion = refined.disparity[-1].detach(), refined.occlusion_logit.detach()
        return parts.total, numbers | report(disparity, occlusion, batch)

    def save(path: Path, network: StereoNetwork, card: Mapping[str, Any]) -> None:
        save_checkpoint(path, network, PRESETS[settings.preset], card)

    mixed = fast_dtype(chosen_device(settings.device)) is torch.bfloat16
    return Task(loss, Batch.to, save, "stereo.safetensors", mixed)
