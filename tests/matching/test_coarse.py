from dataclasses import astuple
from math import exp, log

import pytest
import torch

from matching.coarse import (
    border_allowed,
    dual_softmax,
    log_dual_softmax,
    match_dense,
    match_streaming,
    mutual_matches,
)

MATCHERS = [match_dense, match_streaming]


def random_tokens(generator, L, S, C=16, B=2, dtype=torch.float64):
    """Tokens of which a part of the second set are noisy copies of the first."""
    tokens0 = torch.randn(B, L, C, generator=generator, dtype=dtype)
    tokens1 = torch.randn(B, S, C, generator=generator, dtype=dtype)
    shared = min(L, S) // 2
    order = torch.randperm(S, generator=generator)[:shared]
    noise = 0.3 * torch.randn(B, shared, C, generator=generator, dtype=dtype)
    tokens1[:, order] = tokens0[:, :shared] + noise
    return tokens0, tokens1


def random_masks(generator, L, S, B=2):
    masks = torch.rand(B, L, generator=generator) < 0.7, torch.rand(B, S, generator=generator) < 0.7
    masks[0][:, 0] = masks[1][:, 0] = True
    return masks


def textbook(tokens0, tokens1, scale, valid):
    """Softmax over rows times softmax over columns, as LoFTR writes it."""
    similarity = (scale * tokens0 @ tokens1.mT).masked_fill(~valid, -1e9)
    return similarity.softmax(1) * similarity.softmax(2) * valid


def test_confidence_by_hand():
    # similarities [[log 3, 0], [0, 0]]: rows 3/4 1/4, 1/2 1/2; columns 3/4 1/4, 1/2 1/2
    tokens0 = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    tokens1 = torch.tensor([[[log(3) / 2, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    want = torch.tensor([[[9 / 16, 1 / 8], [1 / 8, 1 / 4]]], dtype=torch.float64)
    torch.testing.assert_close(dual_softmax(tokens0, tokens1, 2.0), want)


@pytest.mark.parametrize(("L", "S"), [(1, 1), (7, 5), (65, 33), (31, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidence_equals_the_textbook_formula(generator, L, S, dtype):
    tokens0, tokens1 = random_tokens(generator, L, S, dtype=dtype)
    mask0, mask1 = random_masks(generator, L, S)
    got = dual_softmax(tokens0, tokens1, 0.7, mask0, mask1, tile=(16, 32))
    want = textbook(tokens0, tokens1, 0.7, mask0[:, :, None] & mask1[:, None])
    torch.testing.assert_close(
        got, want, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=1e-12
    )


@pytest.mark.parametrize("offset", [-500.0, 0.0, 500.0])
def test_similarities_of_any_size_give_finite_confidence(generator, offset):
    # a column of `offset` in both sets shifts every similarity, which changes no confidence
    tokens0, tokens1 = random_tokens(generator, 20, 24)
    shifted = [torch.cat([t, torch.ones_like(t[..., :1])], -1) for t in (tokens0, tokens1)]
    shifted[0][..., -1] = offset
    got = dual_softmax(*shifted, 1.0, tile=(8, 8))
    torch.testing.assert_close(got, dual_softmax(tokens0, tokens1, 1.0), rtol=1e-9, atol=1e-12)


def test_rows_of_very_different_size_do_not_underflow():
    # row maxima 0 and 400 in one float32 tile: with one common shift the first row would sum to 0
    tokens0 = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 20.0, 0.0]]])
    tokens1 = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 20.0, 0.0]]])
    got = log_dual_softmax(tokens0, tokens1, 1.0)
    # similarities [[0, 0], [0, 400]]: lse rows log 2, 400; lse columns log 2, 400
    want = torch.tensor([[[-2 * log(2), -log(2) - 400], [-400 - log(2), 0.0]]])
    torch.testing.assert_close(got, want)


def test_gradients_with_masks_and_a_learned_scale(generator):
    tokens0, tokens1 = random_tokens(generator, 5, 7, C=3)
    mask0, mask1 = random_masks(generator, 5, 7)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def valid_part(tokens0, tokens1, scale):
        score = log_dual_softmax(tokens0, tokens1, scale, mask0, mask1, tile=(2, 3))
        return score.clamp_min(-1e3)

    inputs = tokens0.requires_grad_(), tokens1.requires_grad_(), scale
    assert torch.autograd.gradcheck(valid_part, inputs)


def test_garbage_under_masks_reaches_neither_confidence_nor_gradient(generator):
    tokens0, tokens1 = random_tokens(generator, 9, 12)
    mask0, mask1 = random_masks(generator, 9, 12)
    mask0[1] = False
    tokens0[~mask0], tokens1[~mask1] = torch.nan, torch.inf
    tokens0.requires_grad_()
    tokens1.requires_grad_()
    log_dual_softmax(tokens0, tokens1, 1.0, mask0, mask1).exp().sum().backward()
    assert tokens0.grad.isfinite().all()
    assert tokens1.grad.isfinite().all()
    assert not tokens0.grad[~mask0].any()
    assert not tokens1.grad[~mask1].any()


def test_autocast_does_not_lower_the_precision(generator):
    tokens0, tokens1 = random_tokens(generator, 30, 40, dtype=torch.float32)
    want = log_dual_softmax(tokens0, tokens1, 3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = log_dual_softmax(tokens0, tokens1, 3.0)
    assert torch.equal(got, want)


def test_bfloat16_tokens_are_matched_in_float32(generator):
    tokens0, tokens1 = (t.bfloat16() for t in random_tokens(generator, 30, 40))
    got, want = (
        match_streaming(a, b, 1.0)
        for a, b in [(tokens0, tokens1), (tokens0.float(), tokens1.float())]
    )
    assert got.confidence.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(astuple(got), astuple(want), strict=True))


def test_mutual_maxima_by_hand():
    # row 0 and row 1 both like column 1 best, column 1 prefers row 1; row 2 and column 2 agree
    confidence = torch.tensor([[[0.1, 0.5, 0.2], [0.1, 0.6, 0.1], [0.3, 0.0, 0.7]]])
    found = mutual_matches(confidence, threshold=0.2)
    assert found.cell0.tolist() == [2, 1]
    assert found.cell1.tolist() == [2, 1]
    torch.testing.assert_close(found.confidence, torch.tensor([0.7, 0.6]))
    assert mutual_matches(confidence, threshold=0.65).cell0.tolist() == [2]


def test_a_confidence_equal_to_the_threshold_is_no_match():
    assert not len(mutual_matches(torch.tensor([[[0.25]]]), threshold=0.25).pair)


def test_ties_go_to_the_lower_cell():
    found = mutual_matches(torch.full((1, 3, 4), 0.5))
    assert (found.cell0.tolist(), found.cell1.tolist()) == ([0], [0])


def test_cells_that_are_not_allowed_still_compete():
    # cell 1 of image 0 takes column 0 from cell 0, then falls to the border rule
    confidence = torch.tensor([[[0.5], [0.6]]])
    found = mutual_matches(confidence, allowed0=torch.tensor([[True, False]]))
    assert not len(found.pair)


def test_order_is_pair_then_confidence_then_cell():
    confidence = torch.zeros(2, 3, 3)
    confidence[0].fill_diagonal_(0.5)
    confidence[1] = torch.diag(torch.tensor([0.3, 0.9, 0.6]))
    found = mutual_matches(confidence)
    assert found.pair.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.cell0.tolist() == [0, 1, 2, 1, 2, 0]


@pytest.mark.parametrize("match", MATCHERS)
def test_certain_match_by_hand(match):
    # similarities [[2, 0], [0, 0]]: confidence of (0, 0) is (e2 / (e2 + 1))^2, of (1, 1) is 1 / 4
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    found = match(tokens, tokens, 2.0, threshold=0.2)
    assert found.cell0.tolist() == found.cell1.tolist() == [0, 1]
    assert found.confidence.tolist() == pytest.approx([(exp(2) / (exp(2) + 1)) ** 2, 0.25])


@pytest.mark.parametrize("match", MATCHERS)
def test_swapping_the_images_swaps_the_matches(generator, match):
    tokens0, tokens1 = random_tokens(generator, 50, 70, B=1)
    ahead = match(tokens0, tokens1, 0.8, threshold=0.0)
    back = match(tokens1, tokens0, 0.8, threshold=0.0)
    assert len(ahead.pair) > 20
    assert set(zip(ahead.cell0.tolist(), ahead.cell1.tolist(), strict=True)) == set(
        zip(back.cell1.tolist(), back.cell0.tolist(), strict=True)
    )


@pytest.mark.parametrize("match", MATCHERS)
@pytest.mark.parametrize("garbage", [1e4, torch.nan])
def test_padding_under_a_mask_changes_no_match(generator, match, garbage):
    tokens0, tokens1 = random_tokens(generator, 40, 30)
    padded0 = torch.cat([tokens0, torch.full((2, 9, 16), garbage, dtype=torch.float64)], 1)
    padded1 = torch.cat([tokens1, torch.full((2, 4, 16), garbage, dtype=torch.float64)], 1)
    mask0, mask1 = torch.arange(49).expand(2, -1) < 40, torch.arange(34).expand(2, -1) < 30
    want = match(tokens0, tokens1, 0.8)
    got = match(padded0, padded1, 0.8, mask0, mask1)
    assert len(want.pair) > 10
    assert all(torch.equal(a, b) for a, b in zip(astuple(got), astuple(want), strict=True))


@pytest.mark.parametrize("match", MATCHERS)
@pytest.mark.parametrize(("B", "L", "S"), [(1, 0, 5), (1, 5, 0), (2, 0, 0), (2, 4, 4)])
def test_nothing_to_match_gives_empty_fields(match, B, L, S):
    tokens0, tokens1 = torch.zeros(B, L, 8), torch.zeros(B, S, 8)
    nothing = torch.zeros(B, L, dtype=torch.bool)
    found = match(tokens0, tokens1, 1.0, nothing, None, threshold=0.0)
    assert [tuple(field.shape) for field in astuple(found)] == [(0,)] * 4
    assert found.cell0.dtype == torch.int64


def test_border_of_a_grid_without_padding():
    allowed = border_allowed((5, 6), 2).view(5, 6)
    assert allowed.nonzero().tolist() == [[2, 2], [2, 3]]
    assert border_allowed((5, 6), 0).all()
    assert not border_allowed((5, 6), 3).any()


def test_border_of_a_padded_grid_starts_at_its_valid_extents():
    mask = torch.zeros(2, 6, 8, dtype=torch.bool)
    mask[0, :4, :5] = True
    mask[1, 2:, 3:] = True
    allowed = border_allowed(mask, 1).view(2, 6, 8)
    want = torch.zeros_like(mask)
    want[0, 1:3, 1:4] = True
    want[1, 3:5, 4:7] = True
    assert torch.equal(allowed, want)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens0": torch.zeros(3, 4)}, "tokens0 must be"),
        ({"tokens1": torch.zeros(1, 5, 7)}, "agree in B and C"),
        ({"mask0": torch.ones(1, 5, dtype=torch.bool)}, "mask0 must be bool"),
        ({"mask1": torch.ones(1, 5)}, "mask1 must be bool"),
        ({"scale": -1.0}, "scale must be positive"),
        ({"threshold": 1.0}, "threshold must be in"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = {"tokens0": torch.zeros(1, 4, 8), "tokens1": torch.zeros(1, 5, 8), "scale": 1.0}
    with pytest.raises(ValueError, match=words):
        match_streaming(**(arguments | change))
