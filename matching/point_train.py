"""`python -m matching train-points`: trains a point decoder on synthetic pairs made from photographs.

The matcher gives the features and stays as it is. Everything else is as in `python -m matching train`: a
stopped run goes on from OUT/last.pt, the averaged weights go to OUT/points.safetensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from data_scripts.photos import PhotoFolder
from data_scripts.train_loop import (
    VALIDATION_SEED,
    LoopSettings,
    Task,
    batches_from,
    resumed,
    run,
    run_command,
)
from data_scripts.train_state import join_processes
from matching.checkpoint import load_checkpoint
from matching.data import PairBatches, PairSettings
from matching.point_config import PointConfig
from matching.point_data import PointBatches, PointPairs
from matching.point_decoder import PointDecoder
from matching.point_losses import point_loss
from matching.point_model import PointMatcher, build_point_matcher, load_points, save_points
from matching.predictor import weights_path
from matching.real_pairs import real_pairs
from matching.refine import PatchRefiner

PROG = "python -m matching train-points"
STRAY_SHARE = 0.3  # of the first reference points are moved in training, as peaks will err
STRAY_PX = 12.0  # by up to so many pixels each way
REACH_CELLS = 1.0  # beyond it, distances count less and less with a correlation start


@dataclass(frozen=True, kw_only=True)
class PointTrainSettings(LoopSettings):
    """What and how to train.

    Attributes:
        photos: folder of photographs, searched recursively.
        textures: folder of more images, for the surfaces of ray-cast scenes only.
        weights: of the matcher: a shipped name or a checkpoint.
        decoder: which point decoder.
        start: decoder to begin from (.safetensors of the same settings), where OUT holds no state.
        points: of each pair, N.
    """

    photos: Annotated[Path, tyro.conf.arg(aliases=("-p",))]
    textures: Path | None = None
    weights: str = "small"
    decoder: PointConfig = field(default_factory=PointConfig)
    start: Path | None = None
    points: int = 192
    pairs: PairSettings = field(default_factory=PairSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the command line says; 0 at the last step or the time limit, 2 on a wrong input."""
    settings = tyro.cli(PointTrainSettings, args=argv, prog=PROG, description=__doc__)
    return run_command(PROG, settings, lambda: train(settings))


def train(settings: PointTrainSettings) -> PointDecoder:
    """Runs the training and returns the decoder with averaged weights."""
    if settings.points < 1:
        raise ValueError(f"points must be 1 or more, got {settings.points}")
    rank, world = join_processes(settings.device)
    torch.manual_seed(settings.seed)
    matcher, _, _ = load_checkpoint(weights_path(settings.weights))
    matcher = matcher.requires_grad_(requires_grad=False).to(settings.device)
    # torch's stubs do not know the memory_format argument
    matcher = matcher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    points = build_point_matcher(matcher, settings.decoder).to(settings.device)
    decoder = points.decoder
    if decoder.refiner is not None and isinstance(matcher.fine, PatchRefiner):
        decoder.refiner.begin_as(matcher.fine)
    if settings.start is not None:
        started, _, _ = load_points(settings.start, matcher)
        decoder.load_state_dict(started.decoder.state_dict())
    state = resumed(settings, decoder)
    photos = PhotoFolder(settings.photos)
    kept = [photo for number, photo in enumerate(photos) if number % settings.hold_out]
    textures = PhotoFolder(settings.textures) if settings.textures else ()
    real = real_pairs(settings.pairs.real)
    centre = matcher.cell_centre
    pairs = PairBatches(kept, settings.pairs, centre, settings.seed, real, textures)
    data = PointBatches(pairs, settings.points)
    first, stop = state.step * world + rank, settings.steps * world
    batches = batches_from(data, first, stop, world, settings.workers)
    checks: list[PointPairs] = []
    if rank == 0:
        held_out = photos[:: settings.hold_out]
        plain = replace(settings.pairs, sizes=((256, 256),), easy=0.6, ramp=10**9)
        validation = PairBatches(held_out, plain, centre, VALIDATION_SEED)
        checked = PointBatches(validation, settings.points)
        checks = [checked[number] for number in range(settings.validation_batches)]
    run(settings, _task(settings, points), state, batches, checks, world)
    return state.average


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
