from dataclasses import replace

import pytest
import torch

from stereo.config import PRESETS, RefineConfig, RowsConfig, StereoConfig, TrunkConfig
from stereo.model import STRIDE, build_stereo, confidence, standardised, without_weak
from tests.stereo.tiny import TINY, shifted_batch


def test_answers_have_the_size_of_the_images_and_lie_in_their_ranges():
    network = build_stereo(TINY).eval()
    output = network(torch.rand(2, 3, 32, 48), torch.rand(2, 3, 32, 48))
    assert (
        output.disparity.shape == output.occlusion.shape == output.confidence.shape == (2, 32, 48)
    )
    assert (output.disparity >= 0).all()
    for share in (output.occlusion, output.confidence):
        assert ((share >= 0) & (share <= 1)).all()


def test_a_batch_equals_single_pairs():
    network = build_stereo(TINY).eval()
    left, right = torch.rand(2, 2, 3, 32, 48).unbind(0)
    both = network(left, right)
    for number in range(2):
        one = network(left[number : number + 1], right[number : number + 1])
        torch.testing.assert_close(one.disparity[0], both.disparity[number], atol=1e-4, rtol=1e-4)


def test_no_left_cell_goes_further_right():
    batch = shifted_batch()
    assignment = build_stereo(TINY).steps(batch.left, batch.right).assignment[:, :, :-1, :-1]
    W = assignment.shape[-1]
    further = torch.ones(W, W, dtype=torch.bool).triu(1)
    assert assignment[..., further].max() < 1e-6


def test_the_best_score_is_where_the_same_thing_is():
    """Fresh weights do: a trunk sees the same in both images where one is the other shifted."""
    batch = shifted_batch(shift=16, size=(32, 160))  # 16 px: one cell of every stage
    network = build_stereo(TINY).double().eval()
    maps = [network.trunk(standardised(side.double())) for side in (batch.left, batch.right)]
    best = network.scores(*maps).argmax(-1)[:, :, 12:-12]
    want = torch.arange(12, 28).expand_as(best) - 16 // STRIDE
    assert (best == want).double().mean() > 0.9


def test_weak_estimates_take_over_what_lies_round_them():
    disp = torch.full((1, 1, 20, 30), 7.0)
    mass = torch.ones_like(disp)
    disp[..., :10], mass[..., :10] = 90.0, 0.1  # a weak margin ten cells wide
    torch.testing.assert_close(
        without_weak(disp, mass), torch.full_like(disp, 7.0), atol=0.05, rtol=0
    )
    disp[..., 20:] = 3.0
    assert without_weak(disp, mass)[0, 0, 5, 25] == 3.0  # strong ones stay
    assert torch.isfinite(without_weak(disp, 0 * mass)).all()


def test_standardised_images_do_not_know_gain_and_offset():
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(
        standardised(image), standardised(0.5 * image + 0.2), atol=1e-2, rtol=1e-2
    )


def test_confidence_is_the_mass_of_a_laplace_distribution_within_a_pixel():
    spread = torch.tensor([0.5, 1.0, 4.0])
    drawn = torch.distributions.Laplace(0.0, spread).sample((200_000,))
    torch.testing.assert_close(
        confidence(spread.log()), (drawn.abs() < 1).float().mean(0), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("attention", ["row_softmax", "row_linear", "band_quadtree"])
def test_every_mechanism_builds_and_runs(attention):
    config = replace(TINY, rows=replace(TINY.rows, attention=attention))
    output = build_stereo(config).eval()(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 48))
    assert torch.isfinite(output.disparity).all()


def test_small_keeps_its_budget():
    assert sum(p.numel() for p in build_stereo(PRESETS["small"]).parameters()) < 3e6


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((1, 3, 32, 48), (1, 3, 32, 64), "alike"),
        ((1, 1, 32, 48), (1, 1, 32, 48), r"\(B, 3, H, W\)"),
        ((1, 3, 30, 48), (1, 3, 30, 48), "multiples of 16, got 30 x 48"),
    ],
)
def test_wrong_shapes_are_refused(left, right, message):
    with pytest.raises(ValueError, match=message):
        build_stereo(TINY)(torch.zeros(left), torch.zeros(right))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrunkConfig((1, 2, 3), (1, 1, 1)), "4 stages"),
        (lambda: RowsConfig(channels=20, heads=4), "even width"),
        (lambda: RowsConfig(channels=20, heads=0), "even width"),
        (lambda: RowsConfig(kinds=()), "kinds"),
        (lambda: RowsConfig(topk=(0,)), "topk"),
        (lambda: RefineConfig(iterations=0), "iterations"),
        (lambda: StereoConfig("raft"), "network"),
    ],
)
def test_wrong_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
