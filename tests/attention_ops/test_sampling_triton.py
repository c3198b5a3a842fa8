"""The Triton sampling kernels: interpreted on a CPU, and run on a GPU where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attention_ops import sampling_portable, sampling_triton
from tests.attention_ops.test_sampling import SIZES, inputs

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(
        sampling_triton.LOAD_ERROR is not None, reason=f"Triton: {sampling_triton.LOAD_ERROR}"
    ),
    pytest.mark.skipif(
        "QUADVIEW_BACKEND" in os.environ, reason="the same whatever backend is forced"
    ),
]


@pytest.mark.slow
def test_interpreted_kernels_equal_float64():
    found = subprocess.run(
        [sys.executable, "-m", "tests.attention_ops.interpreted_sampling"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    assert len(rows) == 2
    for case, errors in rows:
        allowed = 2e-3 if "float16" in case else 1e-5
        assert max(errors.values()) < allowed, (case, errors)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", sampling_triton.DTYPES)
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("D", "K", "Q"), [(5, 3, 3), (32, 4, 67), (1, 1, 1), (33, 2, 100)])
def test_on_a_gpu_equals_float64(D, K, Q, dtype, deterministic, generator):
    torch.use_deterministic_algorithms(deterministic)
    value, location, weight = inputs(generator, D=D, K=K, Q=Q)
    value = value.to(dtype)
    grad = torch.randn(2, Q, 2, D, generator=generator, dtype=torch.float64).to(dtype)
    wide = (value.double(), SIZES, location, weight)
    want = (sampling_portable.forward(*wide), *sampling_portable.backward(grad.double(), *wide))
    narrow = (value.cuda(), SIZES, location.float().cuda(), weight.float().cuda())
    found = (sampling_triton.forward(*narrow), *sampling_triton.backward(grad.cuda(), *narrow))
    allowed = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    for one, other in zip(found, want, strict=True):
        assert (one.cpu().double() - other).abs().max() <= allowed * other.abs().max()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_deterministic_gradients_are_the_same_in_every_run(generator):
    value, location, weight = (x.float().cuda() for x in inputs(generator, D=32, K=4, Q=500))
    grad = torch.randn(2, 500, 2, 32, generator=generator).cuda()
    runs = [sampling_triton.backward(grad, value, SIZES, location, weight)[0] for _ in range(3)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
