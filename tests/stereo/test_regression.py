import pytest
import torch

from stereo.regression import regress_rows


def assignment(columns, width=7):
    """One row where left column i goes to right column j by share: {i: {j: share}}."""
    shares = torch.zeros(1, width + 1, width + 1)
    shares[:, :-1, -1] = 1
    for i, targets in columns.items():
        for j, share in targets.items():
            shares[0, i, j] = share
            shares[0, i, -1] -= share
    return shares


@pytest.mark.parametrize(
    ("i", "targets", "disparity", "mass"),
    [
        (3, {1: 1.0}, 2, 1),
        # window 1 to 3: (0.5 * 3 + 0.3 * 2) / 0.8
        (5, {2: 0.5, 3: 0.3}, 2.625, 0.8),
        # what is outside the window counts as occluded: (0.5 * 3 + 0.1 * 4) / 0.6
        (5, {1: 0.1, 2: 0.5, 5: 0.4}, 19 / 6, 0.6),
        # the window ends at the left edge: (0.6 * 2 + 0.2 * 1) / 0.8
        (2, {0: 0.6, 1: 0.2}, 1.75, 0.8),
        # and at the right one
        (6, {6: 0.6, 5: 0.4}, 0.4, 1),
        # a right column further right counts as disparity 0, not below
        (2, {1: 0.25, 2: 0.5, 3: 0.25}, 0.25, 1),
    ],
)
def test_expectation_in_the_window_by_hand(i, targets, disparity, mass):
    rows = regress_rows(assignment({i: targets}))
    assert rows.disparity[0, i].item() == pytest.approx(disparity)
    assert rows.mass[0, i].item() == pytest.approx(mass)
    assert rows.occlusion[0, i].item() == pytest.approx(1 - mass, abs=1e-6)


@pytest.mark.parametrize(("window", "disparity", "mass"), [(0, 3, 0.4), (2, 3.3, 1.0)])
def test_the_window_is_an_argument(window, disparity, mass):
    # window 2 holds columns 0 to 4: 0.4 * 3 + 0.3 * 4 + 0.2 * 2 + 0.1 * 5
    rows = regress_rows(assignment({5: {2: 0.4, 1: 0.3, 3: 0.2, 0: 0.1}}), window)
    assert rows.disparity[0, 5].item() == pytest.approx(disparity)
    assert rows.mass[0, 5].item() == pytest.approx(mass)


def test_a_column_all_in_the_dustbin_is_occluded_with_disparity_0():
    rows = regress_rows(assignment({}))
    assert (rows.disparity == 0).all()
    assert (rows.occlusion == 1).all()
    assert (rows.mass == 0).all()


def test_the_quirk_takes_weak_mass_for_1_and_says_so_in_the_confidence():
    weak = assignment({5: {2: 0.06, 3: 0.03}, 6: {2: 0.5, 3: 0.3}})
    rows, plain = regress_rows(weak, weak_mass_is_one=True), regress_rows(weak)
    assert rows.disparity[0, 5].item() == pytest.approx(0.06 * 3 + 0.03 * 2)
    assert rows.occlusion[0, 5] == 0
    assert rows.mass[0, 5].item() == pytest.approx(0.09)
    assert plain.disparity[0, 5].item() == pytest.approx((0.06 * 3 + 0.03 * 2) / 0.09)
    assert plain.occlusion[0, 5].item() == pytest.approx(0.91)
    assert rows.disparity[0, 6] == plain.disparity[0, 6]
    assert rows.occlusion[0, 6] == plain.occlusion[0, 6]


@pytest.mark.parametrize("quirk", [False, True])
def test_gradients_reach_the_window_and_stay_finite(quirk):
    shares = assignment({5: {2: 0.5, 3: 0.3}}).requires_grad_()
    rows = regress_rows(shares, weak_mass_is_one=quirk)
    (rows.disparity + rows.occlusion).sum().backward()
    assert shares.grad.isfinite().all()
    assert (shares.grad[0, 5, 1:4] != 0).all()
    assert (shares.grad[0, 5, 4:] == 0).all()


def test_wide_and_narrow_right_images_are_both_taken(generator):
    for L, S in ((1, 1), (2, 6), (6, 2)):
        shares = torch.rand(3, L + 1, S + 1, generator=generator).softmax(-1)
        rows = regress_rows(shares)
        assert rows.disparity.shape == (3, L)
        assert (rows.disparity >= 0).all()
        assert (rows.mass <= 1).all()


def test_a_negative_window_is_refused():
    with pytest.raises(ValueError, match="window must be 0 or more columns, got -1"):
        regress_rows(assignment({}), window=-1)
