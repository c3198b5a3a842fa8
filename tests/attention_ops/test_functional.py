import warnings
from dataclasses import replace

import pytest
import torch

import attention_ops
from attention_ops import coarse_attention, fine_attention, use_backend
from attention_ops.sampling import sample_weighted
from tests.attention_ops.op_cases import FINE_SIZES, random_inputs, run_coarse, run_fine

RUNS = {"coarse": run_coarse, "fine": run_fine}
FAST = ("portable", "native")


@pytest.fixture(params=FAST)
def fast_backend(request):
    state = attention_ops.backends()[request.param]
    if state != "ready":
        pytest.skip(f"backend {request.param} is not there: {state}")
    return request.param


def results(op, backend, inputs, variant):
    with use_backend(backend):
        return RUNS[op](inputs, variant)


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", FINE_SIZES)
def test_portable_equals_the_reference_with_all_gradients_in_float64(
    op, variant, masked, sizes, generator
):
    inputs = random_inputs(sizes, generator, masked=masked)
    want = results(op, "reference", inputs, variant)
    torch.testing.assert_close(results(op, "portable", inputs, variant), want)


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", FINE_SIZES)
def test_backend_equals_the_reference_with_all_gradients_in_float32(
    op, variant, masked, sizes, generator, fast_backend
):
    inputs = random_inputs(sizes, generator, torch.float32, masked)
    want = results(op, "reference", inputs, variant)
    torch.testing.assert_close(
        results(op, fast_backend, inputs, variant), want, rtol=1e-5, atol=5e-6
    )


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", FINE_SIZES)
def test_backend_error_in_bfloat16_is_at_most_twice_the_references(
    op, variant, masked, sizes, generator, fast_backend
):
    inputs = random_inputs(sizes, generator, torch.bfloat16, masked)
    exact = results(op, "reference", inputs.to(torch.float64), variant)
    want = results(op, "reference", inputs, variant)
    got = results(op, fast_backend, inputs, variant)
    assert torch.equal(got.pop("index"), want["index"])
    for name, tensor in got.items():
        assert tensor.dtype == want[name].dtype, name
        if tensor.numel():
            reference_error = (want[name].double() - exact[name]).abs().max().item()
            error = (tensor.double() - exact[name]).abs().max().item()
            assert error <= 2 * reference_error + 1e-6, name


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
def test_rows_without_candidates_give_zeros_and_zero_gradients(
    op, variant, generator, fast_backend
):
    inputs = random_inputs(FINE_SIZES[1], generator, torch.float32, masked=True)
    got = results(op, fast_backend, inputs, variant)  # the last batch entry is masked as a whole
    assert (got.pop("index")[-1] == -1).all()
    score = got.pop("score")
    assert variant == "B" or (score[-1] == 0).all()
    for name, tensor in got.items():
        assert tensor.isfinite().all(), name
        assert (tensor[-1] == 0).all(), name


@pytest.mark.parametrize("variant", ["A", "B"])
def test_exact_ties_go_to_the_lower_candidate(variant, fast_backend):
    key = torch.zeros(1, 1, 40, 3)
    key[0, 0, [5, 21, 22, 30]] = 1.0  # four best, alike; every other key is alike, too
    query = torch.ones(1, 1, 9, 3)
    with use_backend(fast_backend):
        few = coarse_attention(query, key, key, topk=3, variant=variant).index
        many = coarse_attention(query, key, key, topk=7, variant=variant).index
    assert (few == torch.tensor([5, 21, 22])).all()
    assert (many == torch.tensor([0, 1, 2, 5, 21, 22, 30])).all()


@pytest.mark.parametrize("variant", ["A", "B"])
def test_fine_ties_follow_the_order_of_the_candidates_not_of_the_tokens(variant, fast_backend):
    tokens = torch.ones(1, 1, 4, 4, 2)
    parents = torch.tensor([3, 0], dtype=torch.int32).view(1, 1, 1, 2)
    score = torch.full((1, 1, 1, 2), 0.5) if variant == "A" else None
    with use_backend(fast_backend):
        index = fine_attention(
            tokens[:, :, :1], tokens, tokens, parents, topk=6, parent_score=score, variant=variant
        ).index
    assert (index == torch.tensor([12, 13, 14, 15, 0, 1])).all()


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
def test_non_contiguous_inputs_give_the_same_result(op, variant, generator, fast_backend):
    inputs = random_inputs(FINE_SIZES[1], generator, torch.float32)
    names = ("query", "key", "value", "parent_index", "parent_score")
    strided = {
        name: getattr(inputs, name).transpose(1, 2).contiguous().transpose(1, 2) for name in names
    }
    assert not any(tensor.is_contiguous() for tensor in strided.values())
    want = results(op, fast_backend, inputs, variant)
    got = results(op, fast_backend, replace(inputs, **strided), variant)
    torch.testing.assert_close(got, want)


def test_forward_and_backward_give_the_same_bits_every_time(generator, fast_backend):
    inputs = random_inputs(FINE_SIZES[4], generator, torch.float32)
    first = results("fine", fast_backend, inputs, "A")
    again = results("fine", fast_backend, inputs, "A")
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("variant", ["A", "B"])
def test_gradcheck_passes(variant, generator):
    inputs = random_inputs((1, 2, 2, 2, 3, 3, 2, 2), generator)
    q, k, v, s = (
        x.requires_grad_() for x in (inputs.query, inputs.key, inputs.value, inputs.parent_score)
    )

    def fine(q, k, v, s):
        given = s if variant == "A" else None
        out = fine_attention(
            q, k, v, inputs.parent_index, topk=2, parent_score=given, variant=variant
        )
        return (out.message, out.score) if variant == "A" else out.message

    def coarse(q, k, v):
        q, k, v = (x.flatten(2, 3) for x in (q, k, v))
        out = coarse_attention(q, k, v, topk=2, variant=variant)
        return (out.message, out.score) if variant == "A" else out.message

    assert torch.autograd.gradcheck(fine, (q, k, v, s if variant == "A" else s.detach()))
    assert torch.autograd.gradcheck(coarse, (q, k, v))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["A", "B"])
def test_opcheck_passes(variant, generator):
    inputs = random_inputs((2, 2, 3, 4, 5, 4, 2, 3), generator, torch.float32, masked=True)
    tokens = [x.nan_to_num().requires_grad_() for x in (inputs.query, inputs.key, inputs.value)]
    score = inputs.parent_score.requires_grad_() if variant == "A" else None
    fine = (*tokens, inputs.parent_index, score, inputs.key_mask, 3, 0.5, variant)
    flat = [x.detach().flatten(2, 3).requires_grad_() for x in tokens]
    coarse = (*flat, inputs.key_mask.flatten(1), 3, 0.5, variant)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.library.opcheck's own making
        torch.library.opcheck(torch.ops.quadview.fine.default, fine)
        torch.library.opcheck(torch.ops.quadview.coarse.default, coarse)


def two_levels(query, key, value, weight):
    """Both ops in a row, as a model uses them; F = 4."""
    above = coarse_attention(query * weight, key, value, topk=3)
    children = [torch.stack([x, -x, 2 * x, x.flip(-1)], 3) for x in (query, key, value)]
    below = fine_attention(*children, above.index, topk=2)
    return below.message.sum(3) + above.message


@pytest.mark.slow
def test_torch_compile_takes_both_ops_whole_and_with_sizes_that_change(generator):
    compiled = torch.compile(two_levels, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (6, 11):
        tensors = [torch.randn(1, 2, count, 8, generator=generator) for _ in range(3)]
        weights = [torch.tensor(0.7, requires_grad=True) for _ in range(2)]
        want, got = two_levels(*tensors, weights[0]), compiled(*tensors, weights[1])
        torch.testing.assert_close(got, want)
        want.sum().backward()
        got.sum().backward()
        torch.testing.assert_close(weights[1].grad, weights[0].grad)


def test_torch_export_keeps_the_ops_with_a_free_number_of_tokens(generator):
    class Model(torch.nn.Module):
        def forward(self, query, key):
            return two_levels(query, key, key, 1.0)

    tokens = torch.randn(1, 2, 12, 8, generator=generator)
    count = torch.export.Dim("tokens", min=4, max=1000)
    shapes = {"query": {2: count}, "key": {2: count}}
    program = torch.export.export(Model(), (tokens, tokens.flip(2)), dynamic_shapes=shapes)
    assert {"quadview.coarse.default", "quadview.fine.default"} <= {
        str(node.target) for node in program.graph.nodes
    }
    more = torch.randn(1, 2, 17, 8, generator=generator)
    want = two_levels(more, more.flip(2), more.flip(2), 1.0)
    torch.testing.assert_close(program.module()(more, more.flip(2)), want)


def test_under_autocast_all_inputs_take_its_dtype(generator):
    query = torch.randn(1, 1, 5, 4, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        result = coarse_attention(query.bfloat16(), query, query, topk=2, variant="A")
    assert result.message.dtype == torch.bfloat16
    assert result.score.dtype == torch.float32


def test_shapes_are_refused_by_name_wanted_and_found():
    tokens = torch.zeros(1, 2, 6, 8)
    with pytest.raises(ValueError, match=r"key must be \(B, M, S, D\) with B=1, M=2, D=8, got"):
        coarse_attention(tokens, tokens[:, :1], tokens, topk=1)
    with pytest.raises(ValueError, match=r"key_mask must be \(B, S\) with B=1, S=6, got \(1, 5\)"):
        coarse_attention(
            tokens, tokens, tokens, topk=1, key_mask=torch.ones(1, 5, dtype=torch.bool)
        )


def test_wrong_types_and_values_are_refused_with_a_remedy():
    tokens, blocks = torch.zeros(1, 2, 6, 8), torch.zeros(1, 2, 6, 4, 8)
    parents = torch.zeros(1, 2, 6, 1, dtype=torch.int32)
    with pytest.raises(TypeError, match=r"value must be torch.float32 as query is.*value\.to"):
        coarse_attention(tokens, tokens, tokens.double(), topk=1)
    with pytest.raises(TypeError, match=r"query must be floating.*\.float\(\)"):
        coarse_attention(tokens.long(), tokens, tokens, topk=1)
    with pytest.raises(TypeError, match=r"key_mask must be bool.*mask\.bool\(\)"):
        coarse_attention(tokens, tokens, tokens, topk=1, key_mask=torch.ones(1, 6))
    with pytest.raises(ValueError, match=r"topk must be 0 or more, got -1"):
        coarse_attention(tokens, tokens, tokens, topk=-1)
    with pytest.raises(ValueError, match=r"variant must be one of A, B, got 'C'"):
        coarse_attention(tokens, tokens, tokens, topk=1, variant="C")
    with pytest.raises(TypeError, match=r"parent_index must be torch.int32.*\.int\(\)"):
        fine_attention(blocks, blocks, blocks, parents.long(), topk=1)
    with pytest.raises(ValueError, match=r"parent_score must be given for variant A"):
        fine_attention(blocks, blocks, blocks, parents, topk=1, variant="A")


def test_tensors_of_another_device_are_refused_before_a_kernel_gets_their_address():
    tokens, blocks = torch.zeros(1, 2, 6, 8), torch.zeros(1, 2, 6, 4, 8)
    parents = torch.zeros(1, 2, 6, 1, dtype=torch.int32)
    mask = torch.ones(1, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"key must be on cpu, got meta; use key.to\('cpu'\)"):
        coarse_attention(tokens, tokens.to("meta"), tokens, topk=1)
    with pytest.raises(ValueError, match=r"key_mask must be on cpu, got meta"):
        coarse_attention(tokens, tokens, tokens, topk=1, key_mask=mask.to("meta"))
    with pytest.raises(ValueError, match=r"parent_index must be on cpu, got meta"):
        fine_attention(blocks, blocks, blocks, parents.to("meta"), topk=1)
    score = torch.ones(1, 2, 6, 1, device="meta")
    with pytest.raises(ValueError, match=r"parent_score must be on cpu, got meta"):
        fine_attention(blocks, blocks, blocks, parents, parent_score=score, topk=1, variant="A")
    with pytest.raises(ValueError, match=r"location must be on cpu, got meta"):
        sample_weighted(
            torch.zeros(1, 6, 2, 8),
            [(2, 3)],
            torch.zeros(1, 5, 2, 1, 4, 2, device="meta"),
            torch.zeros(1, 5, 2, 1, 4),
        )


def test_more_than_two_billion_elements_are_refused_before_any_work():
    huge = torch.zeros(1).expand(1, 1, 2**27, 16)
    with pytest.raises(ValueError, match=r"query must have at most 2147483647 elements"):
        coarse_attention(huge, huge, huge, topk=1)
    wide = torch.zeros(1).expand(1, 1, 2**16, 1)
    with pytest.raises(ValueError, match=r"index must have at most 2147483647 elements"):
        coarse_attention(wide, wide, wide, topk=2**15)
    value, place = torch.zeros(1).expand(1, 6, 1, 2**14), torch.zeros(1).expand(1, 2**17, 1, 1, 1)
    with pytest.raises(ValueError, match=r"message must have at most 2147483647 elements"):
        sample_weighted(value, [(2, 3)], place[..., None].expand(-1, -1, -1, -1, -1, 2), place)
