import numpy as np
import pytest

from data_scripts.silhouettes import bar, random_silhouette


@pytest.mark.parametrize("size", [(40, 60), (7, 9), (2, 3), (121, 4)])
def test_silhouettes_are_shares_of_pixels_of_their_box(size):
    for seed in range(40):
        cover = random_silhouette(size, np.random.default_rng(seed))
        assert cover.shape == size
        assert cover.dtype == np.float32
        assert cover.min() >= 0
        assert cover.max() <= 1


def test_nearly_every_silhouette_shows_something():
    areas = [random_silhouette((50, 50), np.random.default_rng(seed)).sum() for seed in range(60)]
    assert sum(area > 20 for area in areas) >= 57


def test_an_upright_bar_fills_its_box_but_for_the_rim():
    cover = bar((10, 6), 0.0)
    np.testing.assert_allclose(cover[1:-1, 1:-1], 1)
    assert cover[0].max() == cover[:, 0].max() == 0


def test_a_leaning_bar_is_as_thick_as_it_was_asked():
    # lean 0.8 leaves 0.2 of the 40 columns within the rim
    cover = bar((60, 42), 0.8)
    np.testing.assert_allclose(cover[5:-5].sum(1), 8, atol=0.3)
    assert cover[5].argmax() > cover[-6].argmax()
    assert bar((60, 42), -0.8)[5].argmax() < bar((60, 42), -0.8)[-6].argmax()
