"""The compiled backend against the reference, in every instruction set this processor has."""

import shutil

import pytest
import torch

from attention_ops import bench, build, coarse_attention, native, reference, use_backend
from attention_ops.backends import check_forced
from tests.attention_ops.op_cases import FINE_SIZES, random_inputs, run_coarse, run_fine

needs_library = pytest.mark.skipif(
    native.LOAD_ERROR is not None, reason=f"native backend: {native.LOAD_ERROR}"
)
# Past the small cases: several vectors and panels of candidates, all paths of the selection,
# channels that need padding, whole vectors of channels, more channels than the widest block
SIZES = [
    *FINE_SIZES,
    (1, 2, 9, 4, 40, 32, 32, 16),
    (1, 1, 6, 2, 70, 64, 33, 17),
    (1, 1, 5, 4, 60, 24, 50, 40),
    (1, 1, 3, 4, 9, 130, 7, 3),
    (1, 1, 2, 4, 90, 8, 90, 100),
    (1, 1, 260, 4, 50, 16, 40, 4),  # many blocks that look all over the map
]


@pytest.fixture(params=native.INSTRUCTION_SETS)
def instruction_set(request, monkeypatch):
    monkeypatch.setenv("QUADVIEW_ISA", request.param)
    if native.instruction_set() != request.param:
        pytest.skip(f"this processor has no {request.param}")
    return request.param


def whole_numbers(sizes, generator, masked, dtype=torch.float32):
    """Inputs whose logits are exact, so that all backends see the same ties, and many of them."""
    inputs = random_inputs(sizes, generator, masked=masked)
    for tensor in (inputs.query, inputs.key):
        tensor.copy_(tensor.round().clamp(-2, 2))  # NaN stays NaN
    return inputs.to(dtype)


def assert_same(run, inputs, variant):
    """`run` gives the same sets, values and gradients natively and by the reference."""
    with use_backend("native"):
        got = run(inputs, variant)
    with use_backend("reference"):
        want = run(inputs, variant)
    torch.testing.assert_close(got, want, rtol=2e-4, atol=2e-5)


@needs_library
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.usefixtures("instruction_set")
def test_fine_level_equals_the_reference_with_its_gradients(sizes, masked, variant, generator):
    assert_same(run_fine, whole_numbers(sizes, generator, masked), variant)


@needs_library
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("children", [2, 4])
@pytest.mark.usefixtures("instruction_set")
def test_a_block_gives_the_same_bits_among_few_blocks_and_among_many(children, variant, generator):
    """Many that look all over the map have keys, values and gradients laid out otherwise than few."""
    few, many, parents, topk = 20, 900, 100, 8
    sizes = (1, 2, many, children, parents, 32, topk, 5)
    inputs = random_inputs(sizes, generator, torch.float32)
    grad = torch.randn(inputs.query.shape, generator=generator)
    grad[:, :, few:] = 0

    def run(count):
        query, index, score = (
            x[:, :, :count] for x in (inputs.query, inputs.parent_index, inputs.parent_score)
        )
        forward = (query, inputs.key, inputs.value, index, score, None)
        outputs = native.fine_forward(*forward, 5, 0.2, variant)
        grad_score = torch.zeros_like(outputs[3])
        grads = native.fine_backward(
            grad[:, :, :count], grad_score, *forward, *outputs[:3], 0.2, variant
        )
        return [x[:, :, :few] for x in (*outputs[:3], grads[0])] + [*grads[1:3]]

    torch.testing.assert_close(run(few), run(many), rtol=0, atol=0)


@needs_library
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.usefixtures("instruction_set")
def test_coarse_level_equals_the_reference_with_its_gradients(sizes, masked, variant, generator):
    assert_same(run_coarse, whole_numbers(sizes, generator, masked), variant)


@needs_library
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("run", [run_fine, run_coarse])
@pytest.mark.usefixtures("instruction_set")
def test_bfloat16_is_no_further_from_float64_than_twice_the_reference(run, variant, generator):
    inputs = whole_numbers((2, 2, 7, 4, 19, 24, 6, 5), generator, masked=True, dtype=torch.bfloat16)
    with use_backend("reference"):
        exact = run(inputs.to(torch.float64), variant)
        reference_error = errors(run(inputs, variant), exact)
    with use_backend("native"):
        error = errors(run(inputs, variant), exact)
    for name, value in error.items():
        assert value <= 2 * reference_error[name] + 1e-3, name


def errors(got, want):
    return {name: (got[name] - want[name]).double().norm().item() for name in want}


def logits_as_keys(values, topk):
    """The index natively chosen from a row of logits (S,), topk of them."""
    key = values.view(1, 1, -1, 1)
    query = torch.ones(1, 1, 1, 1)
    result = native.coarse_forward(query, key, torch.zeros_like(key), None, topk, 1.0, "B")
    return result[2].flatten().tolist()


@needs_library
@pytest.mark.parametrize("count", [3, 40, 300, 1000])
@pytest.mark.parametrize("topk", [1, 2, 15, 16, 17, 33, 70, 200])
@pytest.mark.usefixtures("instruction_set")
def test_selection_is_exact_whatever_the_spread_of_the_logits(count, topk, generator):
    coarse_steps = torch.randn(count, generator=generator).bfloat16().float()  # with ties
    exponents = torch.randint(-60, 60, (count,), generator=generator).float()
    for row in (coarse_steps, coarse_steps * 2**exponents, torch.zeros(count), -coarse_steps.abs()):
        best = row.argsort(descending=True, stable=True)[:topk].sort().values.tolist()
        assert logits_as_keys(row, topk) == best


@needs_library
@pytest.mark.usefixtures("instruction_set")
def test_zeros_of_either_sign_are_equal_in_the_selection():
    assert logits_as_keys(torch.tensor([-0.0, 0.0, -1.0, -0.0] * 20), 3) == [0, 1, 3]


@needs_library
@pytest.mark.usefixtures("instruction_set")
def test_a_query_of_nan_selects_only_numbers_of_tokens():
    inputs = [torch.randn(1, 1, size, 16) for size in (5, 50, 50)]
    inputs[0][0, 0, 2] = torch.nan
    index = native.coarse_forward(*inputs, None, 8, 0.25, "B")[2]
    assert index.min() >= -1
    assert index.max() < 50
    assert (index[0, 0, [0, 1, 3, 4]] >= 0).all()


@needs_library
@pytest.mark.parametrize("variant", ["A", "B"])
def test_results_are_the_same_bits_for_every_number_of_threads(variant, generator):
    inputs = random_inputs((2, 2, 67, 4, 40, 32, 8, 5), generator, torch.float32, masked=True)
    with use_backend("native"):
        alone = run_fine(inputs, variant) | named("coarse", run_coarse(inputs, variant))
        torch.set_num_threads(3)
        try:
            together = run_fine(inputs, variant) | named("coarse", run_coarse(inputs, variant))
        finally:
            torch.set_num_threads(1)
    for name, tensor in alone.items():
        assert torch.equal(tensor, together[name]), name


def named(prefix, tensors):
    return {f"{prefix}_{name}": tensor for name, tensor in tensors.items()}


@needs_library
def test_strided_inputs_equal_contiguous_ones(generator):
    inputs = [torch.randn(2, 30, 3, 16, generator=generator) for _ in range(3)]
    strided = [x.transpose(1, 2) for x in inputs]
    got = native.coarse_forward(*strided, None, 4, 0.25, "B")
    want = native.coarse_forward(*(x.contiguous() for x in strided), None, 4, 0.25, "B")
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@needs_library
@pytest.mark.parametrize(("L", "S"), [(0, 5), (5, 0), (0, 0)])
def test_no_queries_or_no_keys_give_empty_or_zero_results(L, S):
    query, key = torch.ones(1, 2, L, 16), torch.ones(1, 2, S, 16)
    for got, want in zip(
        native.coarse_forward(query, key, key, None, 3, 0.25, "A"),
        reference.coarse_forward(query, key, key, None, 3, 0.25, "A"),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@needs_library
def test_the_official_formulation_that_the_benchmark_times_gives_the_same_message(generator):
    query, key, value = (torch.randn(1, 8, 30, 4, 32, generator=generator) for _ in range(3))
    parents = bench.random_parents(30, 6, local=False, generator=generator)
    tokens = (parents.long()[..., None] * 4 + torch.arange(4)).flatten(-2).permute(0, 2, 3, 1)
    rows = [x.flatten(2, 3).transpose(1, 2) for x in (query, key, value)]  # (B, N, M, D)
    want, _ = bench.official_fine(rows[0].unflatten(1, (30, 4)), *rows[1:], tokens, 4)
    got = native.fine_forward(query, key, value, parents, None, None, 0, 32**-0.5, "B")[0]
    torch.testing.assert_close(got, want.permute(0, 3, 1, 2, 4))


@needs_library
def test_three_children_per_parent_go_to_the_portable_backend(generator):
    assert_same(run_fine, random_inputs((1, 2, 5, 3, 7, 16, 3, 2), generator, torch.float32), "B")


@needs_library
def test_float64_is_refused():
    query = torch.ones(1, 1, 2, 16, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"float32 or bfloat16, got torch\.float64"):
        native.coarse_forward(query, query, query, None, 1, 1.0, "B")


def test_calling_a_missing_library_raises_the_reason(monkeypatch):
    monkeypatch.setattr(native, "_LIBRARY", None)
    monkeypatch.setattr(native, "LOAD_ERROR", "not built: run `python -m attention_ops build`")
    query = torch.ones(1, 1, 2, 16)
    with pytest.raises(RuntimeError, match="not available: not built: run"):
        native.coarse_forward(query, query, query, None, 1, 1.0, "B")


def test_without_the_library_the_public_door_still_works(monkeypatch):
    monkeypatch.setattr(native, "LOAD_ERROR", "not built")
    query = torch.ones(1, 1, 2, 16)
    assert coarse_attention(query, query, query, topk=1).index.tolist() == [[[[0], [0]]]]


@needs_library
def test_a_library_of_other_sources_is_refused_before_it_is_loaded(tmp_path):
    built = next(path for path in build.library_paths() if path.exists())
    stale = tmp_path / build.LIBRARY
    shutil.copy(built, stale)
    stale.write_bytes(stale.read_bytes().replace(build.source_hash().encode(), b"0" * 16))
    with pytest.raises(OSError, match="other sources"):
        native._open(stale)


@needs_library
def test_an_instruction_set_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("QUADVIEW_ISA", "avx1024")
    with pytest.raises(ValueError, match=r"QUADVIEW_ISA must be one of .*, got 'avx1024'"):
        check_forced("cpu")
    monkeypatch.setenv("QUADVIEW_ISA", "baseline")
    assert native.set_refusal() == ""


def test_a_broken_library_leaves_a_reason_instead_of_an_error(tmp_path, monkeypatch):
    broken = tmp_path / build.LIBRARY
    broken.write_bytes(f"quadview sources {build.source_hash()}".encode())
    monkeypatch.setattr(build, "library_paths", lambda: (broken, tmp_path / "absent"))
    library, reason = native._load()
    assert library is None
    assert reason.startswith("load failed: ")


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(["c++"], "not built: run `python -m attention_ops build`"), (None, "no C++ compiler")],
)
def test_an_unbuilt_library_says_what_to_do(compiler, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "library_paths", lambda: (tmp_path / "absent",))
    monkeypatch.setattr(build, "find_compiler", lambda: compiler)
    library, found = native._load()
    assert library is None
    assert reason in found
