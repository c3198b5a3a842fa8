"""Prints, as JSON, what the Triton backend does wrong on tiny cases in Triton's interpreter.

The argument names the level, "fine" or "coarse".

A program of its own because TRITON_INTERPRET counts only before Triton is imported. Tiles are
made small, so that a few tokens already take several. bfloat16 is left out: the interpreter
multiplies its bit patterns.
"""

import json
import os
import sys
import warnings

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton
from triton.runtime import interpreter

from attention_ops import triton_backend
from attention_ops.triton_kernels import launch
from tests.attention_ops.cuda_cases import (
    assert_half_near_reference,
    assert_near_reference,
    exact_inputs,
    run_coarse,
    run_fine,
)

# Sizes B, M, P, F, R, D, K, topk; whether masked; whether in a fixed order
FINE = {
    "masks, absent parents, odd K, padded channels": ((2, 1, 2, 4, 7, 7, 3, 5), True, True),
    "atomic sums": ((1, 1, 2, 4, 5, 16, 2, 5), True, False),
    "lines, two channels blocks": ((1, 1, 2, 2, 11, 33, 5, 4), False, True),
    "more top-K than candidates": ((1, 1, 1, 4, 3, 16, 2, 99), True, True),
    "no selection, two runs of candidates": ((1, 1, 1, 4, 14, 16, 13, 0), False, True),
    "candidates in parts": ((1, 1, 1, 4, 18, 16, 17, 3), False, True),
}
# The same; L = P * F and S = R * F
COARSE = {
    "several tiles, masks, a batch entry without keys": ((2, 1, 2, 4, 10, 7, 1, 5), True, True),
    "more ties than a tile holds": ((1, 1, 2, 4, 15, 1, 1, 7), False, True),
    "more top-K than a tile was meant for": ((1, 1, 1, 4, 9, 16, 1, 99), True, True),
    "no selection, two blocks of queries": ((1, 1, 9, 2, 9, 16, 1, 0), False, True),
    "channels in parts": ((1, 1, 5, 4, 5, 100, 1, 5), False, True),
}


LONG = "QUADVIEW_LONG_TESTS" in os.environ
LEVELS = {"fine": (run_fine, FINE), "coarse": (run_coarse, COARSE)}


def failures(run, cases):
    """Case -> what differs, or an empty text. Variants take turns; with QUADVIEW_LONG_TESTS, both each."""
    found = {}
    for number, (name, (sizes, masked, ordered)) in enumerate(cases.items()):
        inputs = exact_inputs(sizes, torch.Generator().manual_seed(0), masked)
        for variant in "AB" if LONG else "AB"[number % 2]:
            checks = {"float32": (assert_near_reference,)}
            if masked:
                checks["float16"] = (assert_half_near_reference, torch.float16)
            for dtype, (check, *rest) in checks.items():
                label = f"{variant} {dtype}: {name}"
                try:
                    check(run, triton_backend, inputs, variant, *rest, ordered)
                except AssertionError as error:
                    found[label] = str(error)
                else:
                    found[label] = ""
    return found


def sort_by_whole_arrays():
    """Lets the interpreter take the exclusive or of a sorting step at once, not by elements."""
    one_by_one = interpreter.ReduceOps.generic_reduce
    exclusive_or = triton.language.standard._xor_combine

    def reduce(self, tensors):
        if self.combine_fn is not exclusive_or:
            return one_by_one(self, tensors)
        reduced = [
            np.bitwise_xor.reduce(x.handle.data, axis=self.axis, keepdims=self.keep_dims)
            for x in tensors
        ]
        return [self.to_tensor(x, y.dtype) for x, y in zip(reduced, tensors, strict=True)]

    interpreter.ReduceOps.generic_reduce = reduce


def main():
    warnings.simplefilter("ignore")  # numpy's, of the log of 0
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # uninitialised memory is NaN
    sort_by_whole_arrays()
    launch.COARSE_KEYS = launch.WIDE_COARSE_KEYS = launch.BACKWARD_SIDE = 16
    json.dump(failures(*LEVELS[sys.argv[1]]), sys.stdout)


if __name__ == "__main__":
    main()
