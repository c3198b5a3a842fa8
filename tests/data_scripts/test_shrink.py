import numpy as np
import pytest

from data_scripts.shrink import fitted_size, shrink


@pytest.mark.parametrize(
    ("size", "long_side", "want"),
    [
        ((683, 1024), 800, (534, 800)),  # 683 * 800 / 1024 = 533.6
        ((1024, 683), 800, (800, 534)),
        ((600, 800), 800, (600, 800)),
        ((10, 20), 800, (10, 20)),  # never enlarged
        ((2, 9000), 100, (1, 100)),  # never below one pixel
        ((5000, 7000), None, (5000, 7000)),
    ],
)
def test_the_longer_side_is_shrunk_to_the_limit(size, long_side, want):
    assert fitted_size(*size, long_side) == want


def test_shrinking_averages_areas_of_grey_and_of_colour():
    grey = np.array([[0, 1, 0, 0], [1, 0, 0, 1]], np.float32)
    np.testing.assert_allclose(shrink(grey, 1, 2), [[0.5, 0.25]])
    colour = np.stack([grey, 2 * grey, 3 * grey], axis=2)
    np.testing.assert_allclose(shrink(colour, 1, 2), [[[0.5, 1, 1.5], [0.25, 0.5, 0.75]]])
