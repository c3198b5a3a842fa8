import math

import pytest
import torch

from attention_ops.reference_points import own_points, point_encoding, valid_extent


def test_extent_reaches_to_the_last_valid_row_and_column():
    mask = torch.zeros(3, 4, 6, dtype=torch.bool)
    mask[0, 0, 4] = mask[0, 2, 1] = True
    mask[1] = True
    cells = torch.zeros(3, 4, 6, 2)
    assert valid_extent(cells, mask).tolist() == [[5, 3], [6, 4], [1, 1]]
    assert valid_extent(cells, None).tolist() == [[6, 4]] * 3


def test_own_points_are_cell_centres_as_fractions_of_the_valid_extent():
    mask = torch.zeros(1, 3, 5, dtype=torch.bool)
    mask[:, :2, :4] = True
    points = own_points(torch.zeros(1, 3, 5, 2), mask)
    assert points[0, 1, 2].tolist() == [2.5 / 4, 1.5 / 2]
    assert own_points(torch.zeros(1, 3, 5, 2), None)[0, 2, 4].tolist() == pytest.approx(
        [4.5 / 5, 2.5 / 3]
    )


def test_encoding_has_y_before_x_and_sines_beside_cosines():
    # 8 channels: two waves an axis, 2 pi p and 2 pi p / 10000 ** (1 / 2)
    got = point_encoding(torch.tensor([0.125, 0.25], dtype=torch.float64), 8)
    waves = lambda p: [f(2 * math.pi * p / t) for t in (1, 100) for f in (math.sin, math.cos)]  # noqa: E731
    assert got.tolist() == pytest.approx(waves(0.25) + waves(0.125))


def test_encoding_refuses_channels_that_do_not_divide_by_four():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        point_encoding(torch.zeros(1, 2), 6)
