import math

import pytest
import torch

from matching.point_decoder import Decoded
from matching.point_losses import point_loss


def decoded(points, logit, layers=None):
    layers = (points,) if layers is None else layers
    return Decoded(points, logit, points, layers, (), ())


def test_a_right_and_sure_answer_costs_nothing():
    target = torch.rand(1, 3, 2) * 50
    visible = torch.tensor([[True, True, False]])
    logit = torch.tensor([[20.0, 20.0, -20.0]])
    loss, report = point_loss(decoded(target, logit), target, visible, math.inf)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert (report.within_1px, report.visible_right, report.median_px) == (1.0, 1.0, 0.0)


def test_distances_count_in_cells_and_far_ones_less():
    target = torch.zeros(1, 1, 2)
    visible = torch.ones(1, 1, dtype=torch.bool)
    logit = torch.full((1, 1), -50.0)  # 16 px off is not right: the visibility costs nothing
    loss, _ = point_loss(decoded(torch.tensor([[[16.0, 8.0]]]), logit), target, visible, math.inf)
    assert float(loss) == pytest.approx(3.0)  # 2 + 1 cells
    near, _ = point_loss(decoded(torch.tensor([[[16.0, 8.0]]]), logit), target, visible, 1.0)
    assert float(near) == pytest.approx(math.log(4))


def test_points_that_are_not_visible_have_no_place():
    visible = torch.zeros(1, 2, dtype=torch.bool)
    points = torch.rand(1, 2, 2, requires_grad=True)
    loss, report = point_loss(decoded(points * 99, torch.zeros(1, 2)), points * 0, visible, 1.0)
    loss.backward()
    assert (points.grad == 0).all()
    assert math.isnan(report.median_px)
