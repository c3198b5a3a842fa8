"""Predictors in threads and in worker processes give the answers of one thread in one process."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tests.eval.predictor_use import SIZES, all_answers, answers, load

ROOT = Path(__file__).parents[2]
THREADS = 8
FORKED = """
from multiprocessing import get_context
from tests.eval.predictor_use import all_answers, answers, load
import numpy as np

predictors = load()
want = [answers(predictors, 0)]  # the parent has computed: its thread pools exist

def inherited(_):
    return answers(predictors, 0)

with get_context("fork").Pool(2) as pool:
    for found in pool.map_async(inherited, range(2)).get(100):
        for one, other in zip(found, want[0], strict=True):
            np.testing.assert_array_equal(one, other)
print("same")
"""


def check_same(found, want):
    for one, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def predictors():
    return load()


@pytest.fixture(scope="module")
def want(predictors):
    return [answers(predictors, number) for number in range(len(SIZES))]


def test_eight_threads_of_matching_and_stereo_get_the_answers_of_one(predictors, want):
    numbers = [(thread + step) % len(SIZES) for thread in range(THREADS) for step in (0, 1)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda number: answers(predictors, number), numbers))
    for number, arrays in zip(numbers, found, strict=True):
        check_same(arrays, want[number])


@pytest.mark.slow
def test_a_spawned_worker_gets_the_same_answers(want):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for arrays, wanted in zip(pool.submit(all_answers).result(), want, strict=True):
            check_same(arrays, wanted)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="wants a system that forks")
def test_forked_workers_use_the_predictors_of_their_parent():
    # In a process of its own: pytest's has threads, and with them a fork warns.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr
