import pytest
import torch

from stereo.refine import Refiner, enlarged, look_up, score_pyramid


def scores(columns=12, rows=2):
    return torch.randn(1, rows, columns, columns, dtype=torch.float64)


def test_look_up_reads_the_scores_round_the_estimate():
    volume = scores()
    disp = torch.full((1, 2, 12), 3.0, dtype=torch.float64)
    seen = look_up([volume], disp, radius=1)  # (1, 3, 2, 12)
    for step in (-1, 0, 1):
        assert seen[0, 1 + step, 1, 7].item() == pytest.approx(volume[0, 1, 7, 4 + step].item())


def test_look_up_interpolates_between_cells():
    volume = scores()
    disp = torch.full((1, 2, 12), 2.25, dtype=torch.float64)
    seen = look_up([volume], disp, radius=0)[0, 0, 0, 9].item()  # right column 6.75
    want = 0.25 * volume[0, 0, 9, 6] + 0.75 * volume[0, 0, 9, 7]
    assert seen == pytest.approx(want.item())


def test_look_up_is_zero_outside_the_row():
    disp = torch.full((1, 2, 12), 50.0, dtype=torch.float64)
    assert (look_up(score_pyramid(scores(), 2), disp, radius=1) == 0).all()


def test_a_coarser_scale_reads_means_of_pairs_at_their_middle():
    volume = scores()
    pyramid = score_pyramid(volume, 2)
    disp = torch.full((1, 2, 12), 1.5, dtype=torch.float64)
    seen = look_up(pyramid, disp, radius=0)[0, 1, 0, 8].item()  # right 6.5: middle of cells 6, 7
    assert seen == pytest.approx(volume[0, 0, 8, 6:8].mean().item())


@pytest.mark.parametrize("columns", [1, 3, 7])
def test_odd_and_tiny_rows_have_a_pyramid(columns):
    assert score_pyramid(scores(columns), 3)[-1].shape[-1] == -(-columns // 4)


def test_enlarging_keeps_what_is_constant():
    weight = torch.randn(1, 9, 16, 3, 5).softmax(1)
    values = torch.full((1, 1, 3, 5), 7.0)
    torch.testing.assert_close(enlarged(weight, values), torch.full((1, 1, 12, 20), 7.0))


def test_enlarging_puts_the_pixels_of_a_cell_where_the_cell_is():
    weight = torch.zeros(1, 9, 16, 3, 5)
    weight[:, 4] = 1  # only the cell itself
    values = torch.arange(15.0).view(1, 1, 3, 5)
    want = values.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(enlarged(weight, values), want)


def test_training_gives_every_step_and_use_only_the_last():
    refiner = Refiner(6, hidden=8, iterations=3, radius=2)
    feature, volume = torch.randn(1, 6, 4, 12), torch.randn(1, 4, 12, 12)
    start = torch.full((1, 1, 4, 12), 2.0), torch.ones(1, 1, 4, 12)
    trained = refiner(feature, volume, *start)
    used = refiner.eval()(feature, volume, *start)
    assert [len(trained.disparity), len(used.disparity)] == [3, 1]
    assert used.disparity[0].shape == (1, 16, 48)
    torch.testing.assert_close(trained.disparity[-1], used.disparity[0])
