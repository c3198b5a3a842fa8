from dataclasses import astuple

import pytest
import torch

from matching.coarse import mutual_matches
from matching.sinkhorn import log_optimal_transport, log_transport, match_sinkhorn
from tests.matching.test_coarse import random_masks, random_tokens
from tests.matching.test_streaming import by_cell

pytestmark = pytest.mark.once

DUSTBIN = torch.tensor(1.0, dtype=torch.float64)


def scaled_plan(similarity, dustbin, iterations):
    """Sinkhorn by scaling rows and columns of exp(similarity) in turn, one pair (L, S)."""
    L, S = similarity.shape
    kernel = torch.full((L + 1, S + 1), float(dustbin), dtype=torch.float64)
    kernel[:L, :S] = similarity
    kernel = kernel.exp()
    row_mass = torch.tensor([1.0] * L + [S], dtype=torch.float64) / (L + S)
    column_mass = torch.tensor([1.0] * S + [L], dtype=torch.float64) / (L + S)
    columns = torch.ones(S + 1, dtype=torch.float64)
    for _ in range(iterations):
        rows = row_mass / (kernel @ columns)
        columns = column_mass / (kernel.T @ rows)
    return rows[:, None] * kernel * columns * (L + S)


def test_one_token_on_each_side_by_hand():
    # all four similarities equal: everything is symmetric, so each takes half of its mass of 1
    plan = log_optimal_transport(torch.ones(1, 1, 1, dtype=torch.float64), DUSTBIN).exp()
    torch.testing.assert_close(plan, torch.full((1, 2, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_plan_equals_scaling_of_the_kernel(generator, iterations):
    similarity = 3 * torch.randn(2, 9, 13, generator=generator, dtype=torch.float64)
    got = log_optimal_transport(similarity, DUSTBIN, iterations).exp()
    want = torch.stack([scaled_plan(one, DUSTBIN, iterations) for one in similarity])
    torch.testing.assert_close(got, want)


def test_plan_reaches_its_marginals(generator):
    similarity = torch.randn(1, 5, 8, generator=generator, dtype=torch.float64)
    plan = log_optimal_transport(similarity, DUSTBIN, 200).exp()[0]
    torch.testing.assert_close(plan.sum(1), torch.tensor([1.0] * 5 + [8], dtype=torch.float64))
    torch.testing.assert_close(plan.sum(0), torch.tensor([1.0] * 8 + [5], dtype=torch.float64))


def test_masked_tokens_carry_no_mass(generator):
    similarity = torch.randn(1, 9, 7, generator=generator, dtype=torch.float64)
    mask0, mask1 = torch.arange(9)[None] % 3 > 0, torch.arange(7)[None] < 5
    similarity[~(mask0[:, :, None] & mask1[:, None])] = torch.nan
    got = log_optimal_transport(similarity, DUSTBIN, 3, mask0, mask1).exp()
    want = scaled_plan(similarity[0][mask0[0]][:, mask1[0]], DUSTBIN, 3)
    torch.testing.assert_close(got[0, :-1, :-1][mask0[0]][:, mask1[0]], want[:-1, :-1])
    assert got.sum() == pytest.approx(float(want.sum()))


def test_gradients_are_right_and_finite_under_masks(generator):
    similarity = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    dustbin = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    masks = random_masks(generator, 4, 3)
    masks[0][1] = False

    def plan(similarity, dustbin):
        return log_optimal_transport(similarity, dustbin, 3, *masks).exp()

    assert torch.autograd.gradcheck(plan, (similarity, dustbin))


@pytest.mark.parametrize("tile", [(8, 19), (16, 32), (512, 1024)])
@pytest.mark.parametrize(("L", "S"), [(1, 1), (33, 70), (150, 91)])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_strips_find_the_matches_of_the_whole_plan(generator, L, S, tile, threshold):
    tokens0, tokens1 = random_tokens(generator, L, S)
    masks, allowed = random_masks(generator, L, S), random_masks(generator, L, S)
    confidence = log_transport(tokens0, tokens1, 1.0, DUSTBIN, 3, *masks).exp()
    want = mutual_matches(confidence, *allowed, threshold)
    got = match_sinkhorn(tokens0, tokens1, 1.0, DUSTBIN, *masks, *allowed, threshold, tile=tile)
    assert torch.equal(by_cell(got)[0], by_cell(want)[0])
    torch.testing.assert_close(by_cell(got)[1], by_cell(want)[1], rtol=1e-10, atol=0)


def test_float32_finds_the_matches_of_float64(generator):
    tokens0, tokens1 = random_tokens(generator, 200, 300)
    want = by_cell(match_sinkhorn(tokens0, tokens1, 1.0, DUSTBIN))
    got = by_cell(match_sinkhorn(tokens0.float(), tokens1.float(), 1.0, DUSTBIN.float()))
    assert len(want[0]) > 50
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1].double(), want[1], rtol=1e-4, atol=0)


def test_garbage_under_a_mask_changes_no_match(generator):
    tokens0, tokens1 = random_tokens(generator, 40, 30)
    padded = torch.cat([tokens0, torch.full((2, 9, 16), torch.nan, dtype=torch.float64)], 1)
    mask = torch.arange(49).expand(2, -1) < 40
    got = match_sinkhorn(padded, tokens1, 1.0, DUSTBIN, mask)
    want = match_sinkhorn(tokens0, tokens1, 1.0, DUSTBIN)
    assert len(want.pair) > 10
    assert all(torch.equal(a, b) for a, b in zip(astuple(got), astuple(want), strict=True))


@pytest.mark.parametrize(("L", "S"), [(0, 4), (4, 0)])
def test_nothing_to_match_gives_empty_fields(L, S):
    found = match_sinkhorn(torch.zeros(1, L, 8), torch.zeros(1, S, 8), 1.0, DUSTBIN)
    assert [tuple(field.shape) for field in astuple(found)] == [(0,)] * 4
