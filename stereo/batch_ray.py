"""`python -m stereo batch --engine ray`: the files of a run, made by the actors of a Ray cluster.

An actor takes names of pairs from the stream, reads each pair itself, and writes its file as the local
engine does. Each actor decodes a video on its own, up to the frames that it is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_scripts.ray_stream import Crew, received, work_through
from stereo.batch import BatchCommand, load, predict_file
from stereo.pair_sources import PairReader, PairSource


@dataclass(frozen=True)
class Work:
    """Everything that an actor must know, beside which pairs to do."""

    command: BatchCommand  # its `out` is absolute
    weights: Path
    source: PairSource


class PairPredictor:
    """An actor: has the network, and stands somewhere in the source.

    Args:
        work: reference to `Work` in Ray's object store.
        actors: not used; limits of one pair do not depend on how many are at it.
        threads: of torch, on a CPU; another number may round differently.
    """

    def __init__(self, work: Any, actors: int, threads: int) -> None:  # noqa: ARG002 (as all actors)
        torch.set_num_threads(threads)
        self.work: Work = received(work)
        self.predictor = load(self.work.command, self.work.weights)
        self.reader = PairReader(self.work.source)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Makes the files of the pairs (n,) of `batch` that are not there; why each failed, or nothing."""
        names = list(map(str, batch["name"]))
        return {"name": np.array(names), "error": np.array([self._error(name) for name in names])}

    def _error(self, name: str) -> str:
        command = self.work.command
        if command.file_of(name).exists():  # a task may run again
            return ""
        return predict_file(command, self.predictor, self.reader.read(name))


def predict_missing(work: Work, names: Sequence[str], told: Callable[[str, str], object]) -> None:
    """Does the pairs of these names; `told` hears each name, and why the pair failed or nothing.

    Raises:
        ValueError: ray is not installed.
        OSError: Ray gave up; what is whole is kept.
    """
    crew = Crew(PairPredictor, work, work.command.device, work.command.actors)
    work_through(
        crew,
        [{"name": name} for name in names],
        "whole files",
        lambda row: told(str(row["name"]), str(row["error"])),
    )
