import math

import torch

from matching.losses import coarse_loss, fine_loss
from matching.refine import Refined


def test_coarse_loss_by_hand():
    # one pair, one cell each way: p = 1/2 at the true match, 1/4 elsewhere
    log_confidence = torch.tensor([[[0.5, 0.25], [0.25, 0.25]]]).log()
    partner = torch.tensor([[0, -1]])
    positive = 0.25 * 0.5**2 * math.log(2)
    negative = 0.75 * 3 * 0.25**2 * -math.log(0.75)
    torch.testing.assert_close(
        coarse_loss(log_confidence, partner), torch.tensor(positive + negative)
    )


def test_a_perfect_coarse_match_costs_nothing():
    log_confidence = torch.full((1, 2, 2), -40.0)
    log_confidence[0, 0, 1] = log_confidence[0, 1, 0] = 0.0
    loss = coarse_loss(log_confidence.requires_grad_(), torch.tensor([[1, 0]]))
    loss.backward()
    assert loss < 1e-6
    assert torch.isfinite(log_confidence.grad).all()


def test_a_batch_of_unrelated_pairs_has_a_finite_loss_that_lowers_confidence():
    log_confidence = torch.full((1, 3, 3), -1.0, requires_grad=True)
    coarse_loss(log_confidence, torch.full((1, 3), -1)).backward()
    assert (log_confidence.grad > 0).all()


def refined(offset, spread=1.0):
    return Refined(
        offset, torch.full((len(offset),), spread), (offset,), (torch.zeros(len(offset)),)
    )


def test_fine_loss_by_hand():
    # off by (1, 0) cells: squared error 1; Laplace with scale 1: mean |error| = 1/2
    found = refined(torch.tensor([[1.0, 0.0]]))
    loss = fine_loss(found, torch.zeros(1, 2), 3.5)
    torch.testing.assert_close(loss.search, torch.tensor(1.0))
    torch.testing.assert_close(loss.regress, torch.tensor(0.5))
    assert loss.median_px == 2.0


def test_targets_out_of_reach_are_not_learnt_from():
    found = refined(torch.tensor([[0.0, 0.0]], requires_grad=True))
    loss = fine_loss(found, torch.tensor([[9.0, 0.0]]), 3.5)
    assert loss.search == 0
    assert loss.regress == 0


def test_no_matches_cost_nothing():
    loss = fine_loss(refined(torch.zeros(0, 2)), torch.zeros(0, 2), 3.5)
    assert loss.search == 0
    assert math.isnan(loss.median_px)
