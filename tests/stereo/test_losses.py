import math
from dataclasses import replace

import pytest
import torch

from stereo.losses import disparity_loss, occlusion_loss, spread_loss, stereo_loss, transport_loss
from stereo.model import build_stereo
from stereo.refine import Refinement
from tests.stereo.tiny import TINY, shifted_batch


def perfect_assignment(batch, cells):
    """(B, H/4, W/4 + 1, W/4 + 1) with all mass where the labels of a shifted batch say."""
    B, H, W = batch.disp.shape
    assignment = torch.zeros(B, H // 4, W // 4 + 1, W // 4 + 1)
    for column in range(W // 4):
        assignment[:, :, column, column - cells if column >= cells else -1] = 1
    for column in range(W // 4 - cells, W // 4):
        assignment[:, :, -1, column] = 1
    return assignment


def test_a_perfect_transport_costs_nothing():
    batch = shifted_batch(shift=8)
    assert transport_loss(perfect_assignment(batch, 2), batch).item() == pytest.approx(0, abs=1e-4)


def test_a_transport_one_cell_off_costs_all_it_can():
    batch = shifted_batch(shift=8)
    assert transport_loss(perfect_assignment(batch, 1), batch).item() > 10


def test_a_disparity_between_two_cells_wants_both():
    batch = shifted_batch(shift=8)
    batch = replace(batch, disp=batch.disp + 2)  # 2.5 cells
    share = transport_loss(0.5 * perfect_assignment(batch, 2), batch)
    # cells that match find half of 0.5; dustbins find 0.5
    columns = 16
    want = -((columns - 2) * math.log(0.25) + 4 * math.log(0.5)) / (columns + 2)
    assert share.item() == pytest.approx(want, rel=0.05)


def test_later_steps_count_more_and_occluded_pixels_less():
    batch = shifted_batch(shift=8)
    right, wrong = batch.disp, batch.disp + 10
    late = disparity_loss((right, wrong), batch)
    early = disparity_loss((wrong, right), batch)
    assert late.item() == pytest.approx(10)
    assert early.item() == pytest.approx(8)
    at_occluded = torch.where(batch.occluded, wrong, right)
    assert disparity_loss((at_occluded,), batch) < disparity_loss((wrong,), batch)


def test_unknown_pixels_cost_nothing():
    batch = shifted_batch()
    batch = replace(batch, known=torch.zeros_like(batch.known))
    wrong = batch.disp + 10
    refinement = Refinement((wrong,), wrong, torch.zeros_like(wrong))
    assert disparity_loss((wrong,), batch) == 0
    assert occlusion_loss(wrong, batch) == 0
    assert spread_loss(refinement, batch) == 0


def test_spread_is_best_at_the_true_error():
    batch = shifted_batch()
    losses = [
        spread_loss(
            Refinement(
                (batch.disp + 3,), batch.disp, torch.full_like(batch.disp, math.log(spread))
            ),
            batch,
        ).item()
        for spread in (1.5, 3.0, 6.0)
    ]
    assert losses[1] == min(losses)


def test_the_whole_loss_has_finite_gradients_for_every_weight():
    batch = shifted_batch()
    network = build_stereo(TINY)
    stereo_loss(network.steps(batch.left, batch.right), batch).total.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
