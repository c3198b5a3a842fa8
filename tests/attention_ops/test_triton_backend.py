"""The Triton backend: interpreted on a CPU, refusals, and on a device where there is one."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from attention_ops import chunked, fine_attention, triton_backend, use_backend
from attention_ops.triton_kernels.inverse_index import invert
from tests.attention_ops.cuda_cases import (
    SIZES,
    assert_half_near_reference,
    assert_near_reference,
    exact_inputs,
    moved,
    run_coarse,
    run_fine,
)
from tests.attention_ops.op_cases import random_inputs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the same whatever backend is forced"
)
needs_triton = pytest.mark.skipif(
    triton_backend.LOAD_ERROR is not None, reason=f"Triton: {triton_backend.LOAD_ERROR}"
)
needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
LARGE = [(1, 8, 64, 4, 2704, 32, 16, 8), (1, 4, 67, 4, 676, 64, 32, 16)]


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("level", "cases"), [("fine", 16), ("coarse", 14)])
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
    assert len(outcomes) == cases
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


@pytest.mark.cuda
@needs_triton
@needs_device
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [*SIZES, *LARGE])
def test_fine_level_equals_the_reference_on_a_device(sizes, masked, variant, ordered, generator):
    inputs = exact_inputs(sizes, generator, masked)
    assert_near_reference(run_fine, triton_backend, inputs, variant, ordered, "cuda")


@pytest.mark.cuda
@needs_triton
@needs_device
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [*SIZES, (1, 2, 80, 4, 101, 32, 1, 16)])
def test_coarse_level_equals_the_reference_on_a_device(sizes, masked, variant, generator):
    inputs = exact_inputs(sizes, generator, masked)
    assert_near_reference(run_coarse, triton_backend, inputs, variant, device="cuda")


@pytest.mark.cuda
@needs_triton
@needs_device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("run", [run_fine, run_coarse])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("D", [16, 32, 40, 64, 128])
def test_half_types_lose_no_more_than_twice_the_reference_on_a_device(
    D, ordered, run, variant, dtype, generator
):
    inputs = exact_inputs((2, 2, 7, 4, 19, D, 6, 5), generator, masked=True)
    assert_half_near_reference(run, triton_backend, inputs, variant, dtype, ordered, "cuda")


@pytest.mark.cuda
@needs_triton
@needs_device
@pytest.mark.parametrize("variant", ["A", "B"])
def test_in_a_fixed_order_every_run_gives_the_same_bits(variant, generator):
    inputs = moved(random_inputs(LARGE[0], generator, torch.float32), "cuda")
    for run in (run_fine, run_coarse):
        first, second = (run(triton_backend, inputs, variant) for _ in range(2))
        for name, tensor in first.items():
            assert torch.equal(tensor, second[name]), name


@pytest.mark.cuda
@needs_triton
@needs_device
def test_a_graph_replays_a_level_with_its_gradients(generator):
    inputs = moved(random_inputs(LARGE[0], generator, torch.float32), "cuda")
    leaves = [x.requires_grad_() for x in (inputs.query, inputs.key, inputs.value)]

    def step():
        message = fine_attention(*leaves, inputs.parent_index, topk=8).message
        return message, *torch.autograd.grad(message.square().sum(), leaves)

    with use_backend("triton"):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            want = step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            got = step()
        graph.replay()
    torch.cuda.synchronize()
    torch.testing.assert_close(got, want)


@pytest.mark.cuda
@needs_triton
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_tensors_of_the_second_device_are_worked_on_there(generator):
    inputs = exact_inputs(SIZES[1], generator, masked=True)
    assert_near_reference(run_fine, triton_backend, inputs, "A", device="cuda:1")
    assert torch.cuda.current_device() == 0
