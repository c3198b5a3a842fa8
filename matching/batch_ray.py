"""`python -m matching batch --engine ray`: the shards of a run, made by the actors of a Ray cluster.

The work is a Ray Data stream of shard numbers: an actor for each device takes them, makes the shard as the
local engine does, and writes it to the folder of the run. Which shard goes where, back-pressure,
and what happens when an actor or a machine dies, is Ray's business. All machines must see the images, the
weights and the folder of the run under the same paths.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from matching.batch_run import Run, match_shard
from matching.feature_store import FeatureStore, StoreLimits
from matching.options import MatchOptions
from matching.predictor import load_predictor
from matching.shards import shard_path

SHARDS_PER_TASK = 8  # at most; what an actor that dies was at is done again, less its whole shards
TASKS_PER_ACTOR = 4  # at least, while there are shards: so that all end at about the same time
RETRIES = 5  # of a task whose actor died; more often it is the work that kills


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
        self.work: Work = import_module("ray").get(work)
        limits = self.work.limits
        self.predictor = load_predictor(
            self.work.weights,
            device=self.work.device,
            dtype=None if self.work.dtype == "auto" else getattr(torch, self.work.dtype),
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
        actors: None: one for each GPU of the cluster, or on CPUs as many as have the threads that torch
            has here.
        done: called with a number of pairs.

    Returns:
        How many times the network ran on an image.

    Raises:
        OSError: Ray gave up; what is whole is kept.
    """
    missing = work.run.missing()
    if not missing:
        return 0
    ray = _ray()
    with _connected(ray):
        data = _matched(ray, work, missing, actors or _devices(ray, work.device))
        extracted = 0
        try:
            for row in data.iter_rows():
                extracted += int(row["extracted"])
                done(int(row["pairs"]))
        except ray.exceptions.RayError as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise OSError(
                f"Ray gave up ({line}); whole shards are kept, the same command goes on from there"
            ) from error
    return extracted


def _matched(ray: Any, work: Work, missing: list[int], actors: int) -> Any:
    """The stream of shards that are made, as a Ray data set."""
    on_gpu = torch.device(work.device).type == "cuda"
    threads = torch.get_num_threads()
    count = min(len(missing), max(actors * TASKS_PER_ACTOR, -(-len(missing) // SHARDS_PER_TASK)))
    shards = ray.data.from_items([{"shard": n} for n in missing], override_num_blocks=count)
    return shards.map_batches(
        ShardMatcher,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(actors, count)),
        fn_constructor_args=(ray.put(work), min(actors, count), threads),
        num_cpus=1 if on_gpu else threads,
        num_gpus=1 if on_gpu else 0,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports to its makers
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise ValueError(
            f"--engine ray wants the package ray ({error}); install it with pip install 'quadview[ray]'"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """In the cluster of RAY_ADDRESS; without that, in one on this machine alone, for this block."""
    if ray.is_initialized():
        yield
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    else:
        ray.init(include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _devices(ray: Any, device: str) -> int:
    """How many actors the cluster has room for, at least one."""
    has = ray.cluster_resources()
    if torch.device(device).type == "cuda":
        return max(int(has.get("GPU", 0)), 1)
    return max(int(has.get("CPU", 1)) // torch.get_num_threads(), 1)
