"""The CUDA kernels, emulated on the CPU, against the reference; what the backend refuses and says."""

import numpy as np
import pytest
import torch

from attention_ops import chunked, cuda_backend, cuda_call, reference
from tests.attention_ops.cuda_cases import (
    SIZES,
    assert_half_near_reference,
    assert_near_reference,
    exact_inputs,
    run_coarse,
    run_fine,
)
from tests.attention_ops.cuda_emulation import emulate, once
from tests.attention_ops.op_cases import random_inputs

pytestmark = once


@pytest.fixture
def kernels(monkeypatch, request):
    return emulate(monkeypatch, request.config)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.usefixtures("kernels")
def test_fine_level_equals_the_reference_with_its_gradients(
    sizes, masked, variant, ordered, generator
):
    inputs = exact_inputs(sizes, generator, masked)
    assert_near_reference(run_fine, cuda_backend, inputs, variant, ordered)


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.usefixtures("kernels")
def test_coarse_level_equals_the_reference_with_its_gradients(sizes, masked, variant, generator):
    assert_near_reference(run_coarse, cuda_backend, exact_inputs(sizes, generator, masked), variant)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("run", [run_fine, run_coarse])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.usefixtures("kernels")
def test_half_types_are_no_further_from_float64_than_twice_the_reference(
    run, ordered, variant, dtype, generator
):
    inputs = exact_inputs((2, 2, 7, 4, 19, 32, 6, 5), generator, masked=True)
    assert_half_near_reference(run, cuda_backend, inputs, variant, dtype, ordered)


def logits_as_keys(values, topk):
    """The index chosen from a row of logits (S,), topk of them."""
    key = torch.zeros(1, 1, len(values), 16)
    key[0, 0, :, 5] = values
    query = torch.ones(1, 1, 1, 16)
    result = cuda_backend.coarse_forward(query, key, key, None, topk, 1.0, "B")
    return result[2].flatten().tolist()


@pytest.mark.parametrize("count", [3, 40, 300])
@pytest.mark.parametrize("topk", [1, 2, 16, 33, 200])
@pytest.mark.usefixtures("kernels")
def test_selection_is_exact_whatever_the_spread_of_the_logits(count, topk, generator):
    coarse_steps = torch.randn(count, generator=generator).bfloat16().float()  # with ties
    exponents = torch.randint(-60, 60, (count,), generator=generator).float()
    for row in (coarse_steps, coarse_steps * 2**exponents, torch.zeros(count), -coarse_steps.abs()):
        best = row.argsort(descending=True, stable=True)[:topk].sort().values.tolist()
        assert logits_as_keys(row, topk) == best


@pytest.mark.usefixtures("kernels")
def test_zeros_of_either_sign_are_equal_in_the_selection():
    assert logits_as_keys(torch.tensor([-0.0, 0.0, -1.0, -0.0] * 20), 3) == [0, 1, 3]


@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.usefixtures("kernels")
def test_fine_ties_go_to_the_lower_candidate_in_every_row(variant):
    query, key = torch.ones(1, 1, 2, 4, 32), torch.ones(1, 1, 9, 4, 32)
    parents = torch.tensor([[[[7, 2, 5], [0, -1, 8]]]], dtype=torch.int32)
    score = torch.full(parents.shape, 0.5)
    index = cuda_backend.fine_forward(query, key, key, parents, score, None, 6, 1.0, variant)[2]
    assert index[0, 0, 0].tolist() == [[28, 29, 30, 31, 8, 9]] * 4
    assert index[0, 0, 1].tolist() == [[0, 1, 2, 3, 32, 33]] * 4


@pytest.mark.parametrize("level", ["fine", "coarse"])
@pytest.mark.usefixtures("kernels")
def test_a_query_of_nan_selects_only_numbers_of_tokens_and_spoils_no_other(level, generator):
    inputs = random_inputs((1, 1, 3, 4, 20, 32, 7, 6), generator, torch.float32)
    inputs.query[0, 0, 1, 2] = torch.nan
    run = run_fine if level == "fine" else run_coarse
    result = run(cuda_backend, inputs, "B")
    index, message = result["index"].view(12, 6), result["message"].view(12, 32)
    assert index.max() < 80
    assert index.min() >= -1
    others = [i for i in range(12) if i != 6]
    assert (index[others] >= 0).all()
    assert message[others].isfinite().all()


@pytest.mark.usefixtures("kernels")
def test_random_logits_select_tokens_as_good_as_the_reference_does(generator):
    inputs = random_inputs((1, 2, 5, 4, 30, 32, 21, 16), generator, torch.float32)
    got, want = run_fine(cuda_backend, inputs, "A"), run_fine(reference, inputs, "A")
    for name in ("score", "message"):  # indices may differ where two shares are nearly the same
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_strided_and_unaligned_inputs_equal_plain_ones(generator):
    plain = [torch.randn(2, 3, 30, 16, generator=generator) for _ in range(3)]
    want = cuda_backend.coarse_forward(*plain, None, 4, 0.25, "B")
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in plain]
    shifted = [torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x) for x in plain]
    for inputs in (strided, shifted):
        got = cuda_backend.coarse_forward(*inputs, None, 4, 0.25, "B")
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert shifted[0].data_ptr() % cuda_call.ALIGNMENT


@pytest.mark.parametrize("sizes", [(1, 2, 0, 4, 5, 16, 2, 3), (1, 2, 5, 4, 3, 16, 0, 3)])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.usefixtures("kernels")
def test_no_queries_or_no_parents_give_empty_or_zero_results(ordered, sizes, generator):
    inputs = random_inputs(sizes, generator)
    assert_near_reference(run_fine, cuda_backend, inputs, "B", ordered)


@pytest.mark.usefixtures("kernels")
def test_a_backward_that_needs_too_much_memory_goes_on_from_the_forward_of_the_kernel(generator):
    inputs = exact_inputs((1, 1, 2, 4, 900, 16, 900, 2), generator, masked=False)
    assert_near_reference(run_fine, cuda_backend, inputs, "A")
    assert not cuda_backend.serves(inputs.query.float(), inputs.parent_index)


@pytest.mark.parametrize(("L", "S"), [(0, 5), (5, 0), (0, 0)])
@pytest.mark.usefixtures("kernels")
def test_no_queries_or_no_keys_give_empty_or_zero_results(L, S):
    query, key = torch.ones(1, 2, L, 16), torch.ones(1, 2, S, 16)
    for got, want in zip(
        cuda_backend.coarse_forward(query, key, key, None, 3, 0.25, "A"),
        reference.coarse_forward(query, key, key, None, 3, 0.25, "A"),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.usefixtures("kernels")
def test_keys_past_two_to_the_31_channels_are_found(generator):
    rows, D = 2**31 // (4 * 128) + 10, 128
    try:  # pages that nobody touches take no memory
        key = torch.from_numpy(np.empty((1, 1, rows, 4, D), np.float32))
    except MemoryError:
        pytest.skip("no address space for 8.6 GB")
    key[0, 0, -3:] = torch.randn(3, 4, D, generator=generator)
    query = torch.randn(1, 1, 1, 4, D, generator=generator)
    last = torch.tensor([[[[rows - 1, rows - 3]]]], dtype=torch.int32)
    got = cuda_backend.fine_forward(query, key, key, last, None, None, 3, 0.1, "B")
    few = key[:, :, -3:]
    want = reference.fine_forward(query, few, few, last - (rows - 3), None, None, 3, 0.1, "B")
    torch.testing.assert_close(got[0], want[0])
    assert torch.equal(got[2] - 4 * (rows - 3), want[2])


@pytest.mark.parametrize(
    "sizes",
    [
        (1, 2, 5, 3, 7, 16, 3, 2),  # three children
        (1, 2, 5, 4, 7, 24, 3, 2),  # a width without kernels
        (1, 1, 2, 4, 1700, 16, 1700, 2),  # a row of logits too long for shared memory
    ],
)
@pytest.mark.usefixtures("kernels")
def test_what_there_is_no_kernel_for_goes_to_the_portable_backend(sizes, generator):
    inputs = random_inputs(sizes, generator, torch.float32)
    got, want = run_fine(cuda_backend, inputs, "B"), run_fine(chunked, inputs, "B")
    assert all(torch.equal(got[name], want[name]) for name in ("message", "index", "grad_key"))
    assert not cuda_backend.serves(inputs.query, inputs.parent_index)


@pytest.mark.usefixtures("kernels")
def test_too_many_keys_of_a_coarse_level_go_to_the_portable_backend(generator):
    inputs = random_inputs((1, 1, 1, 4, 1700, 16, 1, 2), generator, torch.float32)
    got, want = run_coarse(cuda_backend, inputs, "B"), run_coarse(chunked, inputs, "B")
    assert torch.equal(got["message"], want["message"])
    torch.testing.assert_close(got["grad_key"], want["grad_key"], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_factors_that_int32_cannot_number_go_to_the_portable_backend(monkeypatch, generator):
    monkeypatch.setattr(cuda_backend, "MAX_FACTORS", 10)
    inputs = random_inputs((1, 1, 2, 4, 5, 16, 3, 2), generator, torch.float32)
    got, want = run_fine(cuda_backend, inputs, "B"), run_fine(chunked, inputs, "B")
    torch.testing.assert_close(got["grad_key"], want["grad_key"])


@pytest.mark.parametrize(
    ("shape", "dtype", "served"),
    [
        ((1, 2, 9, 32), torch.float32, True),
        ((1, 2, 9, 2, 128), torch.bfloat16, True),
        ((1, 2, 9, 4, 16), torch.float16, True),
        ((1, 2, 9, 3, 16), torch.float16, False),
        ((1, 2, 9, 4, 8), torch.float32, False),
        ((1, 2, 9, 32), torch.float64, False),
    ],
)
def test_served_are_the_dtypes_widths_and_fan_outs_that_have_kernels(
    shape, dtype, served, monkeypatch
):
    query = torch.empty(shape, dtype=dtype)
    assert not cuda_backend.serves(query)  # not on the CPU
    monkeypatch.setattr(cuda_backend, "_DEVICE", "cpu")
    assert cuda_backend.serves(query) is served


def test_the_inverse_index_lists_who_names_each_parent():
    parents = torch.tensor([[[[2, 0], [-1, 2], [0, 1]]]], dtype=torch.int32)
    order, start = cuda_backend.inverse_index(parents, 4)
    # entries 1 and 4 name parent 0, entry 5 parent 1, entries 0 and 3 parent 2, none parent 3
    assert order.tolist() == [[[2, 1, 4, 5, 0, 3]]]
    assert start.tolist() == [[[1, 3, 4, 6, 6]]]


def test_calling_a_missing_library_raises_the_reason(monkeypatch):
    monkeypatch.setattr(cuda_backend, "_LIBRARY", None)
    monkeypatch.setattr(cuda_backend, "LOAD_ERROR", "no CUDA device")
    monkeypatch.setattr(cuda_backend, "_DEVICE", "cpu")
    query = torch.ones(1, 1, 2, 16)
    with pytest.raises(RuntimeError, match="not available: no CUDA device"):
        cuda_backend.coarse_forward(query, query, query, None, 1, 1.0, "B")


def test_a_launch_that_fails_says_which_kernel_and_why(kernels):
    query = torch.ones(1, 1, 2, 24)
    call = cuda_call.make_call((1, 1, 2, 2, 1, 24, 0, 1), query, 1.0, "B")
    with pytest.raises(
        RuntimeError, match=r"coarse_forward could not be launched .* no kernel for"
    ):
        cuda_call.launch(kernels, cuda_call.Kernel.COARSE_FORWARD, call)
