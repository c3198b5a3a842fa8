"""Work in several processes: few jobs are handed out at a time, so a long list costs no memory."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_in_processes(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """What `work` gives for each of `jobs`, as it comes, out of order.

    Processes are started afresh rather than forked: neither HDF5 nor OpenCV survives a fork.

    Raises:
        RuntimeError: a process died, of memory perhaps.
    """
    left = iter(jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_prepare) as pool:
        running: set[Future[Result]] = set()
        try:
            while True:
                free = 2 * workers - len(running)
                running |= {pool.submit(work, job) for job in islice(left, free)}
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process died, perhaps for want of memory; run the same command again to go "
                "on, with fewer --workers"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _prepare() -> None:
    """Makes a process a good worker: one thread of OpenCV, deaf to Ctrl-C, gone with its parent."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work, file by file
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Ends this process when its parent is killed; else it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
