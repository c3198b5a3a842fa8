"""The Triton backend interpreted on a CPU, and what it refuses; on a device: test_cuda_device.py."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from attention_ops import chunked, triton_backend
from attention_ops.triton_kernels.inverse_index import invert
from tests.attention_ops.cuda_cases import exact_inputs, run_coarse, run_fine

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the same whatever backend is forced"
)
needs_triton = pytest.mark.skipif(
    triton_backend.LOAD_ERROR is not None, reason=f"Triton: {triton_backend.LOAD_ERROR}"
)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("level", "cases"), [("fine", 9), ("coarse", 7)])
def test_interpreted_kernels_equal_the_reference_with_their_gradients(level, cases):
    found = subprocess.run(
        [sys.executable, "-m", "tests.attention_ops.interpreted_sparse", level],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    outcomes = json.loads(found.stdout)
    assert len(outcomes) == cases * (2 if "QUADVIEW_LONG_TESTS" in os.environ else 1)
    assert {name: text for name, text in outcomes.items() if text} == {}


def test_without_triton_the_backend_loads_and_says_why_it_is_not_there():
    code = "import sys; sys.modules['triton'] = None; from attention_ops import triton_backend as t"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; print(t.LOAD_ERROR)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert found.stdout.strip() == "not installed: pip install triton"


@needs_triton
@pytest.mark.parametrize(
    ("shape", "dtype", "K", "served"),
    [
        ((1, 2, 9, 4, 32), torch.float32, 8, True),
        ((1, 2, 9, 2, 40), torch.bfloat16, 13, True),
        ((1, 2, 9, 4), torch.float16, None, True),
        ((1, 2, 9, 4, 32), torch.float64, 8, False),  # no kernels
        ((1, 2, 9, 3, 32), torch.float32, 8, False),  # fan-out
        ((1, 2, 9, 4, 130), torch.float32, 8, False),  # channels
        ((1, 2, 9, 4, 32), torch.float32, 65, False),  # 128 parents padded, 512 candidates
        ((1, 2, 9, 4, 128), torch.float32, 64, False),  # a tile of 256 candidates x 128 channels
        ((1, 2, 0, 4, 32), torch.float32, 8, False),  # nothing to launch
        ((1, 2, 9, 4, 32), torch.float32, 0, False),
    ],
)
def test_calls_the_kernels_do_not_hold_are_refused(shape, dtype, K, served, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    parents = None if K is None else torch.zeros(*shape[:3], K, dtype=torch.int32)
    assert triton_backend.serves(torch.ones(shape, dtype=dtype), parents) == served


def test_tensors_of_a_cpu_are_refused_and_computed_by_the_portable_backend(generator, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    inputs = exact_inputs((1, 2, 5, 4, 7, 16, 3, 5), generator, masked=True).to(torch.float32)
    assert not triton_backend.serves(inputs.query, inputs.parent_index)
    for run in (run_fine, run_coarse):
        got, want = (run(module, inputs, "A") for module in (triton_backend, chunked))
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_inverse_index_lists_who_selected_each_parent_by_hand():
    # slab 0: block 0 holds parents 1 and 0, block 1 holds 1 and none; slab 1: 2, 1; none, 2
    parent_index = torch.tensor([[[[1, 0], [1, -1]], [[2, 1], [-1, 2]]]], dtype=torch.int32)
    entry, first = invert(parent_index, R=3)
    lists = [entry[a:b].tolist() for a, b in pairwise(first)]
    assert lists == [[1], [0, 2], [], [], [5], [4, 7]]
