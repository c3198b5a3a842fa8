import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from stereo.transport import BOUND, sinkhorn, sinkhorn_of_bounded


def random_logits(generator, *shape):
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


DUSTBIN = torch.tensor(0.5, dtype=torch.float64)


def test_one_pair_by_hand():
    # Both marginals are [1, 1] and P11 P22 / (P12 P21) = exp(logit - dustbin), so P11 = P22 = p,
    # P12 = P21 = 1 - p with (p / (1 - p))^2 = exp(3 - 1).
    shares = sinkhorn(torch.tensor([[[3.0]]]), torch.tensor(1.0), iterations=100)
    p = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(shares[0], torch.stack([p, 1 - p, 1 - p, p]).view(2, 2))


def test_the_first_iteration_by_hand():
    # All logits equal: v first takes u = 0: v = log nu - log 3, then u = log mu - log(sum of nu) + log 3,
    # so the shares are 4 mu nu = outer([1, 1, 2], [1, 1, 2]) / 4.
    shares = sinkhorn(torch.zeros(1, 2, 2), torch.tensor(0.0), iterations=1)
    marginal = torch.tensor([1.0, 1.0, 2.0])
    torch.testing.assert_close(shares[0], marginal[:, None] * marginal / 4)


@hypothesis.settings(max_examples=30)
@hypothesis.given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(0, 99))
def test_left_columns_sum_to_one_and_their_dustbin_to_the_right_columns(L, S, iterations, seed):
    logits = random_logits(torch.Generator().manual_seed(seed), 3, L, S)
    shares = sinkhorn(logits, DUSTBIN, iterations)
    assert shares.shape == (3, L + 1, S + 1)
    want = torch.tensor([1.0] * L + [S], dtype=torch.float64).expand(3, -1)
    torch.testing.assert_close(shares.sum(2), want)


def test_right_columns_sum_to_one_in_the_end(generator):
    shares = sinkhorn(random_logits(generator, 4, 5, 6), DUSTBIN, iterations=300)
    want = torch.tensor([1.0] * 6 + [5], dtype=torch.float64).expand(4, -1)
    torch.testing.assert_close(shares.sum(1), want)


def test_impossible_pairs_get_nothing_and_gradients_stay_finite(generator):
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(0)  # column 0 has no possible partner at all
    logits = random_logits(generator, 2, 5, 5).requires_grad_()
    dustbin = DUSTBIN.clone().requires_grad_()
    shares = sinkhorn(logits.masked_fill(hidden, -torch.inf), dustbin)
    assert (shares[:, :-1, :-1][:, hidden] == 0).all()
    torch.testing.assert_close(shares[:, 0, -1], torch.ones(2, dtype=torch.float64))
    shares.square().sum().backward()
    assert logits.grad.isfinite().all()
    assert dustbin.grad.isfinite()
    assert (logits.grad[:, ~hidden] != 0).all()


def test_gradients_pass_gradcheck(generator):
    logits = random_logits(generator, 2, 3, 4).requires_grad_()
    left = torch.tensor([[True, True, False], [True, True, True]])
    dustbin = DUSTBIN.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, z: sinkhorn(x, z, 3, left), (logits, dustbin))


def test_masked_columns_might_as_well_not_be_there(generator):
    logits = random_logits(generator, 2, 4, 5)
    left = torch.tensor([True, False, True, True]).expand(2, -1)
    right = torch.tensor([True, True, False, True, False]).expand(2, -1)
    want = sinkhorn(logits[:, left[0]][:, :, right[0]], DUSTBIN, 4)
    logits[:, ~left[0]] = 1e30
    logits[:, :, ~right[0]] = torch.nan
    shares = sinkhorn(logits, DUSTBIN, 4, left, right)
    rows = torch.cat([left[0], torch.tensor([True])])
    columns = torch.cat([right[0], torch.tensor([True])])
    torch.testing.assert_close(shares[:, rows][:, :, columns], want)
    assert (shares[:, ~rows] == 0).all()
    assert (shares[:, :, ~columns] == 0).all()


def test_a_row_with_every_column_masked_is_finite_and_empty(generator):
    logits = random_logits(generator, 2, 3, 3).requires_grad_()
    none = torch.tensor([[False] * 3, [True] * 3])
    shares = sinkhorn(logits, DUSTBIN, 4, none, none)
    assert (shares[0, :-1] == 0).all()
    assert (shares[0, :, :-1] == 0).all()
    shares[:, :-1, :-1].square().sum().backward()
    assert shares.isfinite().all()
    assert (logits.grad[0] == 0).all()
    assert (logits.grad[1] != 0).all()


def test_a_few_rows_at_a_time_give_the_same_numbers(generator):
    logits = random_logits(generator, 7, 5, 6)
    parts = [sinkhorn(part, DUSTBIN) for part in logits.split(3)]
    assert torch.equal(torch.cat(parts), sinkhorn(logits, DUSTBIN))


def test_a_dearer_dustbin_takes_less(generator):
    logits = random_logits(generator, 3, 5, 5)
    free, dear = sinkhorn(logits, DUSTBIN + 2), sinkhorn(logits, DUSTBIN - 2)
    assert (dear[:, :-1, -1] < free[:, :-1, -1]).all()


def test_half_precision_comes_out_as_float32(generator):
    logits = random_logits(generator, 2, 4, 4).bfloat16()
    shares = sinkhorn(logits, torch.tensor(0.5))
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares, sinkhorn(logits.float(), torch.tensor(0.5)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.zeros(3, 4), DUSTBIN), r"logits must be \(R, L, S\) with columns, got \(3, 4\)"),
        ((torch.zeros(3, 0, 4), DUSTBIN), "with columns"),
        ((torch.zeros(1, 2, 2), torch.zeros(1)), "dustbin must be one number"),
        ((torch.zeros(1, 2, 2), DUSTBIN, 0), "iterations must be 1 or more, got 0"),
        ((torch.zeros(1, 2, 3), DUSTBIN, 1, torch.ones(1, 3).bool()), r"left_mask must be bool"),
        ((torch.zeros(1, 2, 3), DUSTBIN, 1, None, torch.ones(1, 3)), r"right_mask must be bool"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        sinkhorn(*arguments)


@pytest.mark.parametrize(("L", "S", "iterations"), [(7, 7, 3), (5, 9, 1), (1, 1, 10)])
def test_the_version_for_bounded_logits_is_the_same(L, S, iterations):
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.rand(4, L, S, generator=generator, dtype=torch.float64) - 10
    dustbin = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    logits.requires_grad_()
    results = [f(logits, dustbin, iterations) for f in (sinkhorn, sinkhorn_of_bounded)]
    torch.testing.assert_close(*results)
    weight = torch.rand(results[0].shape, generator=generator, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((r * weight).sum(), (logits, dustbin), retain_graph=True)
        for r in results
    ]
    torch.testing.assert_close(*gradients)


def test_bounded_logits_may_forbid_pairs_even_all_of_a_column():
    logits = torch.zeros(2, 6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -1e4)
    logits[0, :, 3] = logits[0, 2] = -1e4
    got = sinkhorn_of_bounded(logits, torch.tensor(3.0), 3)
    torch.testing.assert_close(got, sinkhorn(logits, torch.tensor(3.0), 3), atol=1e-6, rtol=1e-5)
    assert torch.isfinite(got).all()


def test_bounded_logits_use_all_of_their_bound_in_float32():
    generator = torch.Generator().manual_seed(0)
    logits = BOUND * (torch.rand(3, 30, 30, generator=generator) - 0.5)
    got = sinkhorn_of_bounded(logits, torch.tensor(-BOUND / 2), 3)
    want = sinkhorn(logits.double(), torch.tensor(-BOUND / 2).double(), 3).float()
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
