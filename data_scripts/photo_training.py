"""Training on pairs that are made from a folder of photographs: which photographs are for what, and the run.

What a pair is, and what the network makes of it, is the business of `matching.train` and `stereo.train`.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data_scripts.long_run import locked
from data_scripts.photos import PhotoFolder
from data_scripts.train_loop import Batch, LoopSettings, Network, Task, batches_from, resumed, run
from data_scripts.train_state import join_processes

Photos: TypeAlias = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class PhotoSettings(LoopSettings):
    """What to make pairs of, and how to train.

    Attributes:
        photos: folder of photographs, searched recursively.
        textures: folder of more images, for the surfaces of ray-cast scenes only.
    """

    photos: Annotated[Path, tyro.conf.arg(aliases=("-p",))]
    textures: Path | None = None


def check_sizes(sizes: Sequence[tuple[int, int]], batch: int) -> None:
    """Raises ValueError where `sizes` (H, W) of pairs, or the number of pairs in a batch, are below 1."""
    if not sizes or min(min(size) for size in sizes) < 1:
        raise ValueError(f"sizes must be H W in pixels, one pair of them or more, got {sizes}")
    if batch < 1:
        raise ValueError(f"batch must be 1 pair or more, got {batch}")


def check_shares(**shares: float) -> None:
    """Raises ValueError, by the name of the argument, where a share is not one."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {share}")


def train_on_photos(
    settings: PhotoSettings,
    network: Network,
    task: Task[Network, Batch],
    training: Callable[[Photos, Photos], Dataset[Batch]],
    validation: Callable[[Photos, Photos], Dataset[Batch]],
) -> Network:
    """Trains `network`, or goes on with the run in OUT; no other process may be at work there.

    Args:
        settings: of the run.
        network: on any device.
        task: what the loop must know of such networks.
        training: gives batches by number, of the photographs to train on and the textures.
        validation: the same of the photographs that are held out.

    Returns:
        The network with averaged weights; OUT holds them too.

    Raises:
        ValueError: another process is at work in OUT, or its state is of another network.
    """
    rank, world = join_processes(settings.device)
    with locked(settings.out) if rank == 0 else nullcontext():  # the first process alone writes
        return _train(settings, network, task, training, validation, rank, world)


def _train(
    settings: PhotoSettings,
    network: Network,
    task: Task[Network, Batch],
    training: Callable[[Photos, Photos], Dataset[Batch]],
    validation: Callable[[Photos, Photos], Dataset[Batch]],
    rank: int,
    world: int,
) -> Network:
    # torch's stubs do not know the memory_format argument
    network = network.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = resumed(settings, network)
    photos = PhotoFolder(settings.photos)
    kept = [photo for number, photo in enumerate(photos) if number % settings.hold_out]
    textures = PhotoFolder(settings.textures) if settings.textures else ()
    start, stop = state.step * world + rank, settings.steps * world
    data = training(kept, textures)
    batches = batches_from(data, start, stop, world, settings.workers)
    checks: list[Batch] = []
    if rank == 0:
        held_out = validation(photos[:: settings.hold_out], textures)
        checks = [held_out[number] for number in range(settings.validation_batches)]
    run(settings, task, state, batches, checks, world)
    return state.average
