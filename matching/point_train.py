"""`python -m matching train-points`: trains a point decoder on synthetic pairs made from photographs.

The matcher gives the features and stays as it is. Everything else is as in `python -m matching train`: a
stopped run goes on from OUT/last.pt, the averaged weights go to OUT/points.safetensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from attention_ops.precision import chosen_device
from data_scripts.photo_training import Photos, PhotoSettings, train_on_photos
from data_scripts.train_loop import Task, run_command
from matching.checkpoint import load_checkpoint
from matching.data import PairSettings, training_pairs, validation_pairs
from matching.point_config import PointConfig
from matching.point_data import PointBatches, PointPairs
from matching.point_decoder import PointDecoder
from matching.point_losses import point_loss
from matching.point_model import PointMatcher, build_point_matcher, load_points, save_points
from matching.predictor import weights_path
from matching.refine import PatchRefiner

PROG = "python -m matching train-points"
STRAY_SHARE = 0.3  # of the first reference points are moved in training, as peaks will err
STRAY_PX = 12.0  # by up to so many pixels each way
REACH_CELLS = 1.0  # beyond it, distances count less and less with a correlation start


@dataclass(frozen=True, kw_only=True)
class PointTrainSettings(PhotoSettings):
    """What and how to train.

    Attributes:
        weights: of the matcher: a shipped name or a checkpoint.
        decoder: which point decoder.
        start: decoder to begin from (.safetensors of the same settings), where OUT holds no state.
        points: of each pair, N.
    """

    weights: str = "small"
    decoder: PointConfig = field(default_factory=PointConfig)
    start: Path | None = None
    points: int = 192
    pairs: PairSettings = field(default_factory=PairSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says; 0 at the last step or the time limit, 2 on a wrong input."""
    return run_command(
        PROG, lambda: tyro.cli(PointTrainSettings, args=argv, prog=PROG, description=__doc__), train
    )


def train(settings: PointTrainSettings) -> PointDecoder:
    """Runs the training and returns the decoder with averaged weights."""
    if settings.points < 1:
        raise ValueError(f"points must be 1 or more, got {settings.points}")
    device = chosen_device(settings.device)
    torch.manual_seed(settings.seed)
    matcher, _, _ = load_checkpoint(weights_path(settings.weights))
    matcher = matcher.requires_grad_(requires_grad=False).to(device)
    # torch's stubs do not know the memory_format argument
    matcher = matcher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    points = build_point_matcher(matcher, settings.decoder)
    decoder = points.decoder
    if decoder.refiner is not None and isinstance(matcher.fine, PatchRefiner):
        decoder.refiner.begin_as(matcher.fine)
    if settings.start is not None:
        started, _, _ = load_points(settings.start, matcher)
        decoder.load_state_dict(started.decoder.state_dict())
    centre = matcher.cell_centre

    def training(photos: Photos, textures: Photos) -> PointBatches:
        pairs = training_pairs(settings.pairs, centre, settings.seed, photos, textures)
        return PointBatches(pairs, settings.points)

    def validation(photos: Photos, _: Photos) -> PointBatches:
        return PointBatches(validation_pairs(settings.pairs, centre, photos), settings.points)

    return train_on_photos(settings, decoder, _task(settings, points), training, validation)


def _task(settings: PointTrainSettings, points: PointMatcher) -> Task[PointDecoder, PointPairs]:
    """What the loop must know of point decoders."""
    reach = REACH_CELLS if settings.decoder.start == "correlation" else float("inf")

    def loss(
        decoder: PointDecoder, batch: PointPairs, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        seen = PointMatcher(points.matcher.eval(), decoder)
        with torch.no_grad():
            both = [seen.matcher.extract(image) for image in (batch.image0, batch.image1)]
        stray = _stray(batch.points0, generator) if decoder.training else None
        decoded = decoder(seen.prepare(*both), batch.points0, stray)
        value, report = point_loss(decoded, batch.points1, batch.visible, reach)
        return value, asdict(report)

    def save(path: Path, decoder: PointDecoder, card: Mapping[str, Any]) -> None:
        save_points(path, PointMatcher(points.matcher, decoder), settings.decoder, card)

    return Task(loss, PointPairs.to, save, "points.safetensors", mixed=False)


def _stray(points: Tensor, generator: torch.Generator) -> Tensor:
    """Steps (B, N, 2) px away from the first reference point, most of them 0."""
    away = (2 * torch.rand(points.shape, generator=generator) - 1) * STRAY_PX
    some = torch.rand(*points.shape[:2], 1, generator=generator) < STRAY_SHARE
    return (away * some).to(points.device)
