"""The CUDA and the Triton kernels on a device: the cases of the emulation, and what only a device can show."""

import pytest
import torch

from attention_ops import cuda_backend, fine_attention, triton_backend, use_backend
from tests.attention_ops.cuda_cases import (
    SIZES,
    assert_half_near_reference,
    assert_near_reference,
    exact_inputs,
    moved,
    run_coarse,
    run_fine,
)
from tests.attention_ops.cuda_emulation import once
from tests.attention_ops.op_cases import random_inputs

pytestmark = [
    once,
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
needs_cuda = pytest.mark.skipif(
    cuda_backend.LOAD_ERROR is not None, reason=f"cuda backend: {cuda_backend.LOAD_ERROR}"
)
needs_triton = pytest.mark.skipif(
    triton_backend.LOAD_ERROR is not None, reason=f"Triton: {triton_backend.LOAD_ERROR}"
)
CUDA = pytest.param(cuda_backend, marks=needs_cuda, id="cuda")
TRITON = pytest.param(triton_backend, marks=needs_triton, id="triton")
both_backends = pytest.mark.parametrize("backend", [CUDA, TRITON])
# Levels of an 832 x 832 map, cut short in P so that the reference in float64 stays quick
LARGE = [(1, 8, 64, 4, 2704, 32, 16, 8), (1, 4, 67, 4, 676, 64, 32, 16)]


@both_backends
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [*SIZES, *LARGE])
def test_fine_level_equals_the_reference_with_its_gradients(
    sizes, masked, variant, ordered, backend, generator
):
    inputs = exact_inputs(sizes, generator, masked)
    assert_near_reference(run_fine, backend, inputs, variant, ordered, "cuda")


@both_backends
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [*SIZES, (1, 2, 80, 4, 101, 32, 1, 16)])
def test_coarse_level_equals_the_reference_with_its_gradients(
    sizes, masked, variant, backend, generator
):
    inputs = exact_inputs(sizes, generator, masked)
    assert_near_reference(run_coarse, backend, inputs, variant, device="cuda")


@both_backends
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("run", [run_fine, run_coarse])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("D", [16, 32, 40, 64, 128])
def test_half_types_are_no_further_from_float64_than_twice_the_reference(
    D, run, ordered, variant, dtype, backend, generator
):
    if backend is cuda_backend and D not in cuda_backend.WIDTHS:
        pytest.skip(f"no CUDA kernel of {D} channels")
    inputs = exact_inputs((2, 2, 7, 4, 19, D, 6, 5), generator, masked=True)
    assert_half_near_reference(run, backend, inputs, variant, dtype, ordered, "cuda")


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize(
    ("backend", "run"),
    [
        pytest.param(cuda_backend, run_fine, marks=needs_cuda),
        pytest.param(triton_backend, run_fine, marks=needs_triton),
        pytest.param(triton_backend, run_coarse, marks=needs_triton),
    ],
)
def test_in_a_fixed_order_every_run_gives_the_same_bits(backend, run, variant, generator):
    inputs = moved(random_inputs(LARGE[0], generator, torch.float32), "cuda")
    first, second = (run(backend, inputs, variant) for _ in range(2))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@needs_cuda
def test_a_call_follows_the_current_stream(generator):
    inputs = moved(random_inputs(LARGE[0], generator, torch.float32), "cuda")
    want = run_fine(cuda_backend, inputs, "B")["message"]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # work on another stream would be done long before
        key = inputs.key * 2
        got = cuda_backend.fine_forward(
            inputs.query, key / 2, inputs.value, inputs.parent_index, None, None, 8, 32**-0.5, "B"
        )[0]
    torch.cuda.synchronize()
    torch.testing.assert_close(got, want)


@both_backends
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_tensors_of_the_second_device_are_worked_on_there(backend, generator):
    inputs = exact_inputs(SIZES[1], generator, masked=True)
    assert_near_reference(run_fine, backend, inputs, "A", device="cuda:1")
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize(
    "name",
    [pytest.param("cuda", marks=needs_cuda), pytest.param("triton", marks=needs_triton)],
)
def test_a_graph_replays_a_level_with_its_gradients(name, generator):
    inputs = moved(random_inputs(LARGE[0], generator, torch.float32), "cuda")
    leaves = [x.requires_grad_() for x in (inputs.query, inputs.key, inputs.value)]

    def step():
        message = fine_attention(*leaves, inputs.parent_index, topk=8).message
        return message, *torch.autograd.grad(message.square().sum(), leaves)

    with use_backend(name):
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
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
