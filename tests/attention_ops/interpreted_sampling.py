"""Prints, as JSON, the errors of the Triton sampling kernels against float64, in the interpreter.

A program of its own because TRITON_INTERPRET counts only before Triton is imported.
"""

import json
import math
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch

from attention_ops import sampling_portable, sampling_triton
from tests.attention_ops.test_sampling import SIZES, inputs

OUTPUTS = ("message", "value", "location", "weight")


def errors(D, K, Q, dtype, deterministic, generator):
    """Largest error of the message and of each gradient."""
    value, location, weight = inputs(generator, D=D, K=K, Q=Q)
    location[0, 0, 0, 0, 0, 0], location[0, 0, 0, 1, 0, 1] = math.nan, 1e30
    value = value.to(dtype)
    grad = torch.randn(2, Q, 2, D, generator=generator, dtype=torch.float64).to(dtype)
    want = sampling_portable.forward(value.double(), SIZES, location, weight)
    want_back = sampling_portable.backward(grad.double(), value.double(), SIZES, location, weight)
    torch.use_deterministic_algorithms(deterministic)
    narrow = (value, SIZES, location.float(), weight.float())
    found = sampling_triton.forward(*narrow)
    found_back = sampling_triton.backward(grad, *narrow)
    torch.use_deterministic_algorithms(mode=False)
    pairs = zip((found, *found_back), (want, *want_back), strict=True)
    return {
        name: float((a.double() - b).abs().max() / b.abs().max())
        for name, (a, b) in zip(OUTPUTS, pairs, strict=True)
    }


def main():
    generator = torch.Generator().manual_seed(0)
    cases = [
        (5, 2, 3, torch.float32, True),
        (16, 1, 2, torch.float16, False),
    ]
    rows = [[str(case), errors(*case, generator)] for case in cases]
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    main()
