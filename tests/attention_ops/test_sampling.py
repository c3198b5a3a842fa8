import math

import pytest
import torch

from attention_ops import backends, flops, native, use_backend
from attention_ops.sampling import sample_weighted

SIZES = [(3, 5), (2, 2), (1, 4)]
BACKENDS = [name for name in ("portable", "native") if backends()[name] == "ready"]


def inputs(generator, B=2, Q=3, M=2, D=5, K=3, sizes=SIZES):
    S, L = sum(h * w for h, w in sizes), len(sizes)
    draw = lambda *s: torch.randn(*s, generator=generator, dtype=torch.float64)  # noqa: E731
    location = torch.rand(B, Q, M, L, K, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    return draw(B, S, M, D), location, draw(B, Q, M, L, K)


def naive(value, sizes, location, weight):
    """The sum with one corner at a time; nothing outside a map."""
    B, Q, M, L = weight.shape[:4]
    message = torch.zeros(B, Q, M, value.shape[3], dtype=value.dtype)
    first = [sum(h * w for h, w in sizes[:i]) for i in range(L)]
    for b, q, m, i, k in torch.cartesian_prod(*map(torch.arange, weight.shape)).tolist():
        H, W = sizes[i]
        x = location[b, q, m, i, k, 0] * W - 0.5
        y = location[b, q, m, i, k, 1] * H - 0.5
        left, top = math.floor(x.item()), math.floor(y.item())
        for j in (top, top + 1):
            for c in (left, left + 1):
                if 0 <= j < H and 0 <= c < W:
                    share = (1 - abs(x - c)) * (1 - abs(y - j)) * weight[b, q, m, i, k]
                    message[b, q, m] = message[b, q, m] + share * value[b, first[i] + j * W + c, m]
    return message


def with_gradients(run, value, location, weight):
    leaves = [x.detach().clone().requires_grad_() for x in (value, location, weight)]
    message = run(leaves[0], SIZES, leaves[1], leaves[2])
    ramp = torch.linspace(-1, 1, message.numel()).view(message.shape).to(message)
    return [message.detach(), *torch.autograd.grad((message * ramp).sum(), leaves)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("D", "K", "Q"), [(5, 3, 3), (1, 1, 1), (16, 2, 7), (33, 4, 2), (40, 1, 5)]
)
def test_equals_the_sum_over_corners_with_its_gradients(backend, D, K, Q, generator):
    value, location, weight = inputs(generator, D=D, K=K, Q=Q)
    location[0, 0, 0, 0, 0] = torch.tensor([0.5 / 5, 1.5 / 3])  # on a cell
    want = with_gradients(naive, value, location, weight)
    with use_backend(backend):
        single = [x.float() for x in (value, location, weight)]
        got32 = with_gradients(sample_weighted, *single)
        if backend == "portable":
            got = with_gradients(sample_weighted, value, location, weight)
            torch.testing.assert_close([got[i] for i in (0, 1, 3)], [want[i] for i in (0, 1, 3)])
    torch.testing.assert_close(got32[0].double(), want[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got32[1].double(), want[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got32[3].double(), want[3], rtol=1e-4, atol=1e-5)
    # a location on a cell has a kink: its gradient is one of two
    got32[2][0, 0, 0, 0, 0] = want[2][0, 0, 0, 0, 0] = 0
    torch.testing.assert_close(got32[2].double(), want[2], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif("native" not in BACKENDS, reason="the compiled library is not there")
@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "baseline"])
def test_every_instruction_set_and_many_points_give_the_same(
    instruction_set, generator, monkeypatch
):
    monkeypatch.setenv("QUADVIEW_ISA", instruction_set)
    if native.instruction_set() != instruction_set:
        pytest.skip(f"this processor has no {instruction_set}")
    value, location, weight = (x.float() for x in inputs(generator, D=70, K=50))
    results = []
    for backend in ("portable", "native"):
        with use_backend(backend):
            results.append(with_gradients(sample_weighted, value, location, weight))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=2e-4)


def test_gradients_are_those_of_differences(generator):
    value, location, weight = (x.requires_grad_() for x in inputs(generator, B=1, Q=2, D=2, K=1))
    run = lambda v, at, w: sample_weighted(v, SIZES, at, w)  # noqa: E731
    assert torch.autograd.gradcheck(run, (value, location, weight), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_a_location_that_is_no_place_gives_zeros_and_no_gradient(backend, wrong, generator):
    value, location, weight = (x.float() for x in inputs(generator))
    location[:, 1, :, :, :, 0] = wrong
    with use_backend(backend):
        message, of_value, of_location, of_weight = with_gradients(
            sample_weighted, value, location, weight
        )
    assert (message[:, 1] == 0).all()
    assert (of_location[:, 1] == 0).all()
    assert (of_weight[:, 1] == 0).all()
    assert of_value.isfinite().all()
    assert (message[:, 0] != 0).any()


def test_half_precision_is_sampled_in_float32(generator):
    value, location, weight = (x.float() for x in inputs(generator))
    got = sample_weighted(value.bfloat16(), SIZES, location, weight)
    want = sample_weighted(value.bfloat16().float(), SIZES, location, weight)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, want.bfloat16())


def test_flops_by_hand(generator):
    value, location, weight = (x.requires_grad_() for x in inputs(generator))
    points = weight.numel() * value.shape[3]
    assert flops(sample_weighted, value, SIZES, location, weight) == 2 * 5 * points
    step = lambda: sample_weighted(value, SIZES, location, weight).sum().backward()  # noqa: E731
    assert flops(step) == 2 * (5 + 8) * points


@pytest.mark.slow
def test_pytorch_accepts_the_op(generator):
    value, location, weight = (x.float().requires_grad_() for x in inputs(generator))
    flat = [side for size in SIZES for side in size]
    torch.library.opcheck(
        torch.ops.quadview.sample.default,
        (value, flat, location, weight),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_wrong_shapes_are_refused_in_words(generator):
    value, location, weight = inputs(generator)
    with pytest.raises(ValueError, match=r"sizes \[.*\] have 19 cells, value has S=23"):
        sample_weighted(value, [(3, 5), (2, 2), (0, 4)], location, weight)
    with pytest.raises(ValueError, match=r"location must be .* with .*L=2, XY=2, got"):
        sample_weighted(value, SIZES[:2], location, weight)
    with pytest.raises(ValueError, match=r"weight must be \(B, Q, M, L, K\)"):
        sample_weighted(value, SIZES, location, weight[..., :1])
