import pytest
import torch

from attention_ops.windows import (
    aligned_origins,
    cut_windows,
    gather_windows,
    join_windows,
    relative_index,
)


@pytest.mark.parametrize(("side", "before"), [(3, 0), (4, 2), (1, 0), (5, 3), (9, 4)])
def test_windows_are_cut_where_they_are_gathered_and_joined_again(side, before, generator):
    cells = torch.randn(2, 7, 5, 3, generator=generator)
    mask = torch.rand(2, 7, 5, generator=generator) > 0.3
    tokens, valid = cut_windows(cells, mask, side, before)
    assert torch.equal(join_windows(tokens, (7, 5), side, before), cells)
    origin = aligned_origins(cells, cells, None, None, None, side, before)
    gathered, seen = gather_windows(cells, mask, origin, side)
    assert torch.equal(valid, seen)
    assert torch.equal(gathered[seen], tokens[valid])


def test_a_window_of_a_smaller_source_lies_at_the_same_fraction():
    query, source = torch.zeros(1, 8, 8, 1), torch.zeros(1, 4, 16, 1)
    origin = aligned_origins(query, source, None, None, None, 4)
    # middles x 2, 6 of 8 -> 4, 12 of 16; y 2, 6 of 8 -> 1, 3 of 4; minus half a window
    assert origin[0, ..., 0].tolist() == [[2, 10], [2, 10]]
    assert origin[0, ..., 1].tolist() == [[-1, -1], [1, 1]]


def test_a_window_moves_with_the_mean_of_its_valid_reference_points():
    cells = torch.zeros(1, 4, 8, 1)
    reference = torch.stack(
        torch.meshgrid((torch.arange(8) + 0.5) / 8, (torch.arange(4) + 0.5) / 4, indexing="xy"), -1
    )[None]
    moved = reference.clone()
    moved[:, :, :4, 0] += 3 / 8  # the first window three cells to the right,
    moved[:, 0, 4:, 1] += 4 / 4  # a quarter of the second four cells down
    moved[0, 3, 3] = torch.nan  # and one cell that does not know: as if at its own place
    origin = aligned_origins(cells, cells, None, None, moved, 4)
    assert origin[0, 0].tolist() == [[3, 0], [4, 1]]
    still = aligned_origins(cells, cells, None, None, reference, 4)
    assert still[0, 0].tolist() == [[0, 0], [4, 0]]


def test_cells_off_the_map_are_not_valid_by_hand():
    cells = torch.arange(6.0).view(1, 2, 3, 1)
    tokens, valid = gather_windows(cells, None, torch.tensor([[[[-1, 1], [2, 0]]]]), 2)
    assert valid[0, 0].tolist() == [[False, True, False, False], [True, False, True, False]]
    assert tokens[valid].flatten().tolist() == [3.0, 2.0, 5.0]


def test_relative_index_by_hand():
    # side 2, no margin: d + 1 in 0 .. 2, rows of 3; query 0 and key 3 differ by (-1, -1)
    assert relative_index(2, 0, torch.device("cpu"))[0].tolist() == [4, 3, 1, 0]
    assert relative_index(2, 0, torch.device("cpu"))[3].tolist() == [8, 7, 5, 4]
    with_margin = relative_index(2, 1, torch.device("cpu"))
    assert with_margin.shape == (4, 16)
    assert with_margin.min() == 0
    assert with_margin.max() == 24  # (2 (2 + 1) - 1) ** 2 - 1
