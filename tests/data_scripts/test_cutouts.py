import numpy as np
import pytest

from data_scripts import cutouts


def test_a_mask_is_the_share_of_each_pixel_that_is_covered():
    # from the left border of pixel 1 to the middle of pixel 3, all of rows 1 and 2
    outline = np.array([[0.5, 0.5], [3.0, 0.5], [3.0, 2.5], [0.5, 2.5]])
    cover = cutouts.mask(outline, (0, 0, 6, 4))
    want = np.outer([0, 1, 1, 0], [0, 1, 1, 0.5, 0, 0])
    # filled polygons include their border: up to one sample of 4 x 4 more
    np.testing.assert_allclose(cover, want, atol=0.3)


def test_the_bounding_box_is_cut_at_the_image_and_none_outside():
    outline = np.array([[-5.0, 2.0], [7.5, 2.0], [7.5, 30.0]])
    assert cutouts.bounding_box(outline, (20, 40)) == (0, 1, 10, 20)
    assert cutouts.bounding_box(outline + 100, (20, 40)) is None


@pytest.mark.parametrize("seed", range(8))
def test_outlines_stay_in_the_unit_circle(seed):
    outline = cutouts.random_outline(np.random.default_rng(seed))
    assert np.hypot(*outline.T).max() <= 1 + 1e-9
    assert len(outline) >= 3
