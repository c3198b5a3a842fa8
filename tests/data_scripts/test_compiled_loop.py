from types import FunctionType

import numpy as np

from data_scripts.compiled_loop import compiled


@compiled()
def total(values):
    found = 0.0
    for value in values:
        found += value
    return found


@compiled(fastmath={"nsz"})
def inverse(value):
    return 1 / value


def test_a_compiled_loop_counts_and_divides_as_numpy():
    assert total(np.arange(4.0)) == 6
    assert total.stats.cache_path
    assert inverse(0.0) == np.inf


def test_where_nothing_can_be_kept_it_compiles_all_the_same():
    code = (lambda x: 2 * x).__code__.replace(co_filename="/nowhere/loop.py")
    double = compiled()(FunctionType(code, {}, "double"))
    assert double(3) == 6
