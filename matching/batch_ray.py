"""`python -m matching batch --engine ray`: the shards of a run, made by the actors of a Ray cluster.

An actor takes numbers of shards from the stream, makes each shard as the local engine does, and writes it
to the folder of the run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from attention_ops.precision import chosen_dtype
from data_scripts.ray_stream import Crew, received, work_through
from matching.batch_run import Run, match_shard
from matching.feature_store import FeatureStore, StoreLimits
from matching.options import MatchOptions
from matching.predictor import load_predictor
from matching.shards import shard_path


@dataclass(frozen=True)
class Work:
    """Everything that an actor must know, beside which shards to make."""

    run: Run
    images: Path  # folder
    weights: str
    device: str
    dtype: Literal["auto", "float32", "bfloat16"]
    long_side: int | None
    limits: StoreLimits  # of all actors together
    options: MatchOptions
    batch_size: int | None


class ShardMatcher:
    """An actor: has the network and the features of images that it used of late.

    Args:
        work: reference to `Work` in Ray's object store.
        actors: how many share its limits.
        threads: of torch, on a CPU; another number may round differently.
    """

    def __init__(self, work: Any, actors: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.work: Work = received(work)
        limits = self.work.limits
        self.predictor = load_predictor(
            self.work.weights,
            device=self.work.device,
            dtype=chosen_dtype(self.work.dtype),
            long_side=self.work.long_side,
        )
        self.store = FeatureStore(
            self.predictor,
            self.work.images,
            self.work.run.pairs.names,
            self.work.run.out / "features",
            StoreLimits(limits.memory_gb / actors, limits.disk_gb / actors),
            self.work.options.turns,
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Makes the shards (n,) of `batch` that are not there; how many pairs and features each took."""
        run, before = self.work.run, self.store.extracted
        for shard in map(int, batch["shard"]):
            if not shard_path(run.out, shard).exists():  # a task may run again
                match_shard(
                    run, shard, self.predictor, self.store, self.work.options, self.work.batch_size
                )
        pairs = [len(run.numbers(int(shard))) for shard in batch["shard"]]
        made = np.array([self.store.extracted - before, *([0] * (len(pairs) - 1))])
        return {"pairs": np.array(pairs), "extracted": made}


def match_missing(work: Work, actors: int | None, done: Callable[[int], object]) -> int:
    """Makes every shard that is not there yet; `done` is told of pairs as they are whole in a shard.

    Args:
        work: what to do.
        actors: see `Crew`.
        done: called with a number of pairs.

    Returns:
        How many times the network ran on an image.

    Raises:
        ValueError: ray is not installed.
        OSError: Ray gave up; what is whole is kept.
    """
    extracted = 0

    def told(row: dict[str, Any]) -> None:
        nonlocal extracted
        extracted += int(row["extracted"])
        done(int(row["pairs"]))

    crew = Crew(ShardMatcher, work, work.device, actors)
    shards = [{"shard": shard} for shard in work.run.missing()]
    work_through(crew, shards, "whole shards", told)
    return extracted
