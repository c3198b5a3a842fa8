import time

import numpy as np
import pytest

from data_scripts.stopwatch import Stopwatch


def test_compiling_is_counted_apart():
    from numba import njit

    loop = njit(lambda values: values.sum() + 1)
    with Stopwatch() as first:
        loop(np.ones(3))
        time.sleep(0.02)
    assert first.compiling > 0.01
    assert 0.02 <= first.seconds < 0.02 + first.compiling
    assert "to compile loops" in str(first)
    with Stopwatch() as second:
        loop(np.ones(3))
        time.sleep(0.02)
    assert second.compiling == 0
    assert str(second) == f"{second.seconds:.2f} s"


def test_a_failure_passes_through_and_is_timed():
    took = Stopwatch()
    with pytest.raises(ZeroDivisionError), took:
        raise ZeroDivisionError(time.sleep(0.01))
    assert took.seconds >= 0.01
