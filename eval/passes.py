"""The two passes that all benchmarks share: predictions into a file, then scores from the file.

Either may be killed anywhere and goes on where it was; each pair counts once.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from data_scripts.command_line import check_counts
from eval.journal import Journal, Row
from eval.predictions import DisparityPrediction, Prediction, PredictionStore

Task = TypeVar("Task")


@dataclass(frozen=True)
class RunOptions:
    """What a user may change of any benchmark; every one of them stands in the results."""

    repeats: int | None = None  # None: as the benchmark says
    limit: int | None = None  # only so many first pairs
    workers: int = 1  # processes that score
    max_disp: float | None = (
        None  # px; larger true disparities are left out; None: as the benchmark says
    )

    def __post_init__(self) -> None:
        if self.max_disp is not None and not self.max_disp > 0:
            raise ValueError(f"--max-disp must be positive, got {self.max_disp}")
        check_counts(self, "repeats", "limit", "workers")


def predict_all(
    store: PredictionStore,
    names: Sequence[str],
    predict: Callable[[int], Prediction | DisparityPrediction],
    title: str,
) -> None:
    """First pass: a prediction for every pair that `store` has none of yet."""
    if store.is_complete():
        return
    for number in tqdm(range(len(names)), title, disable=None):
        if not store.has(number):
            store.add(number, predict(number))
    store.finish(list(names))


def score_all(
    path: Path,
    identity: str,
    tasks: Sequence[Task],
    score: Callable[[Task], Row],
    title: str,
    workers: int = 1,
) -> list[Row]:
    """Second pass: a row of scores for every task, in the order of the tasks.

    Args:
        path: where the rows are kept as they are made.
        identity: what they are of; rows of anything else are thrown away.
        tasks: one a pair, in their order.
        score: gives the row of a task; with several workers it must be a function of a module.
        title: of the progress bar.
        workers: processes that score at once.
    """
    with Journal(path, identity) as journal:
        todo = [n for n in range(len(tasks)) if str(n) not in journal.rows]
        results = _mapped(score, [tasks[n] for n in todo], workers)
        bar = tqdm(zip(todo, results, strict=True), title, total=len(todo), disable=None)
        for number, row in bar:
            journal.add(str(number), row)
        return [journal.rows[str(number)] for number in range(len(tasks))]


def _mapped(score: Callable[[Task], Row], tasks: Sequence[Task], workers: int) -> Iterator[Row]:
    if workers == 1 or len(tasks) < 2:
        yield from map(score, tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(partial(_one_thread, score), tasks, chunksize=4)


def _one_thread(score: Callable[[Task], Row], task: Task) -> Row:
    """`score` with OpenCV on one thread: the processes share the cores already."""
    import cv2

    cv2.setNumThreads(1)
    return score(task)


def no_reader(place: Path) -> Any:
    """Stands in for the reader of a benchmark that is sent to a process, which has its pair already."""
    raise RuntimeError(f"{place}: a process that scores reads no data set")


def digest_of(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a value that JSON can hold, or whose text tells all of it."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:12]
