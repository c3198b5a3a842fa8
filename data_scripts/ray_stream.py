"""Work on a Ray cluster: items as a Ray Data stream, which an actor for each device takes one by one.

Which item goes where, back-pressure, and what happens when an actor or a machine dies, is Ray's business.
Knows nothing of what the items are. All machines must see the same files under the same paths.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

ITEMS_PER_TASK = 8  # at most; what an actor that dies was at is done again, less what is whole
TASKS_PER_ACTOR = 4  # at least, while there are items: so that all end at about the same time
RETRIES = 5  # of a task whose actor died; more often it is the work that kills


@dataclass(frozen=True)
class Crew:
    """The actors that share some work."""

    actor: type  # made with (reference to `work`, number of actors, threads of torch)
    work: object  # everything that an actor must know beside its items; sent to each machine once
    device: str  # cpu, cuda or cuda:N
    actors: int | None = None  # None: one for each GPU, or on CPUs as many as have torch's threads


def work_through(
    crew: Crew,
    items: Sequence[Mapping[str, Any]],
    kept: str,
    done: Callable[[dict[str, Any]], object],
) -> None:
    """Has the actors do every item; `done` is told each row that they give, in any order.

    An actor is called with one item at a time, as a dict of arrays (1,), and gives a dict of arrays (n,). It
    may meet an item again whose actor died, or that was done before its actor could tell.

    Args:
        crew: who does it.
        items: rows of Ray Data; none: nothing is started.
        kept: plural, what stays of work that is given up, for the message.
        done: called in this process.

    Raises:
        ValueError: ray is not installed.
        OSError: Ray gave up.
    """
    if not items:
        return
    ray = _ray()
    with _connected(ray):
        try:
            for row in _dataset(ray, crew, items).iter_rows():
                done(row)
        except ray.exceptions.RayError as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise OSError(
                f"Ray gave up ({line}); {kept} are kept, the same command goes on from there"
            ) from error


def received(work: Any) -> Any:
    """In an actor: the work that its reference stands for."""
    return import_module("ray").get(work)


def _dataset(ray: Any, crew: Crew, items: Sequence[Mapping[str, Any]]) -> Any:
    actors = crew.actors or _devices(ray, crew.device)
    on_gpu = torch.device(crew.device).type == "cuda"
    threads = torch.get_num_threads()
    count = min(len(items), max(actors * TASKS_PER_ACTOR, -(-len(items) // ITEMS_PER_TASK)))
    rows = ray.data.from_items([dict(item) for item in items], override_num_blocks=count)
    return rows.map_batches(
        crew.actor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(actors, count)),
        fn_constructor_args=(ray.put(crew.work), min(actors, count), threads),
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
