"""Loops compiled by numba on their first call, kept on disk for later processes where a disk takes them; and
how rows are shared out among threads that run one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

# Other threads run meanwhile, and a division by zero gives what NumPy gives, without a check.
SETTINGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(**settings: Any) -> Callable[[Function], Function]:
    """Decorator, with settings of `numba.njit` beside those above.

    Where neither the folder of the source nor the user's cache can be written (a read-only image, no home),
    numba refuses to keep what it compiles; then each process compiles for itself.
    """

    def decorate(function: Function) -> Function:
        try:
            return cast(Function, njit(cache=True, **SETTINGS, **settings)(function))
        except RuntimeError:  # "no locator available"
            return cast(Function, njit(**SETTINGS, **settings)(function))

    return decorate


def in_blocks(work: Callable[[tuple[int, int]], object], count: int, least: int) -> None:
    """Calls `work` with blocks (first, past the last) of `count` rows, in as many threads as torch may use.

    A thread gets `least` rows or more, where there are so many.
    """
    threads = max(1, min(torch.get_num_threads(), count // least))
    edges = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for task in [pool.submit(work, block) for block in pairwise(edges.tolist())]:
            task.result()
