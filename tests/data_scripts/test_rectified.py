from dataclasses import replace

import numpy as np
import pytest
import torch

from data_scripts.rectified import RectifiedPair, flipped_and_swapped, random_largest_disp
from tests.data_scripts.stereo_checks import assert_same_pair, warped_right


def by_hand():
    """Two rows of grey whose right half lies one pixel further left in the right image."""
    left = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]).repeat(3, 2, 1)
    right = torch.tensor([0.1, 0.3, 0.4, 0.5, 0.9]).repeat(3, 2, 1)
    disp = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).repeat(2, 1)
    occluded = torch.tensor([False, True, False, False, False]).repeat(2, 1)
    disp_right = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]).repeat(2, 1)
    occluded_right = torch.tensor([False, False, False, False, True]).repeat(2, 1)
    known = torch.ones(2, 5, dtype=torch.bool)
    return RectifiedPair(
        left, right, disp, known, occluded, disp_right, known.clone(), occluded_right
    )


def test_swapped_eyes_see_the_mirror_image_by_hand():
    swapped = flipped_and_swapped(by_hand())
    torch.testing.assert_close(swapped.left[0, 0], torch.tensor([0.9, 0.5, 0.4, 0.3, 0.1]))
    assert swapped.disp[0].tolist() == [1, 1, 1, 1, 0]
    assert swapped.occluded[0].tolist() == [True, False, False, False, False]
    seen = ~swapped.occluded
    torch.testing.assert_close(warped_right(swapped)[:, seen], swapped.left[:, seen])


def test_swapping_twice_changes_nothing():
    assert_same_pair(flipped_and_swapped(flipped_and_swapped(by_hand())), by_hand())


def test_pairs_with_labels_of_one_side_are_not_swapped():
    one_sided = replace(by_hand(), disp_right=None)
    assert not one_sided.both_sides
    with pytest.raises(ValueError, match="labels on both sides"):
        flipped_and_swapped(one_sided)


@pytest.mark.parametrize("name", ["right", "disp", "known", "occluded_right"])
def test_labels_of_another_size_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        replace(by_hand(), **{name: torch.zeros(3, 7, 7) if name == "right" else torch.zeros(7, 7)})


def test_largest_disparities_spread_over_small_and_large_ones():
    rng = np.random.default_rng(0)
    drawn = np.array([random_largest_disp(384, None, rng) for _ in range(400)])
    assert drawn.min() >= 12
    assert drawn.max() <= 0.4 * 384
    # log-uniform: half lie below the geometric mean of 12 and 0.4 W
    assert abs((drawn < np.sqrt(12 * 0.4 * 384)).mean() - 0.5) < 0.1
    assert random_largest_disp(384, 6.0, rng) <= 6
