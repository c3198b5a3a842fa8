import pytest
import torch

from attention_ops import pyramid


def test_token_order_by_hand():
    # 4 x 4 cells numbered in raster order, two levels: each 2 x 2 block in turn.
    cells = torch.arange(16.0).view(1, 4, 4, 1)
    tokens = pyramid.map_to_tokens(cells, levels=2, heads=1).flatten().int().tolist()
    assert tokens == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_map_to_tokens_and_back_is_the_same_map(levels, generator):
    side = 2 ** (levels - 1)
    cells = torch.randn(2, 3 * side, 5 * side, 6, generator=generator)
    tokens = pyramid.map_to_tokens(cells, levels, heads=3)
    assert tokens.shape == (2, 3, 15 * side**2, 2)
    assert torch.equal(pyramid.tokens_to_map(tokens, cells.shape[1:3], levels), cells)


def test_lines_to_tokens_and_back_is_the_same_map(generator):
    cells = torch.randn(2, 3, 8, 6, generator=generator)
    tokens = pyramid.line_to_tokens(cells, heads=2)
    assert torch.equal(tokens[4, 1], cells[1, 1, :, 3:])  # row 1 of image 1, second head
    assert torch.equal(pyramid.tokens_to_line(tokens, rows=3), cells)


def test_pooling_tokens_is_average_pooling_of_the_map(generator):
    cells = torch.randn(2, 8, 12, 6, generator=generator)
    coarse = pyramid.token_pyramid(pyramid.map_to_tokens(cells, 3, 2), None, 3)[0]
    want = torch.nn.functional.avg_pool2d(cells.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(pyramid.tokens_to_map(coarse, (2, 3), 1), want)


@pytest.mark.parametrize("fan_out", [2, 4])
def test_pooling_is_the_mean_of_the_valid_children_of_a_line(fan_out):
    tokens = torch.arange(8.0).view(1, 1, 8, 1)
    valid = torch.tensor([[True, False, True, True, False, False, False, False]])
    pooled = pyramid.pool(tokens.masked_fill(~valid[:, None, :, None], torch.nan), valid, fan_out)
    # fan-out 2: 0; mean of 2 and 3; none; none. fan-out 4: mean of 0, 2, 3; none.
    want = {2: [0.0, 2.5, 0.0, 0.0], 4: [5 / 3, 0.0]}[fan_out]
    torch.testing.assert_close(pooled.flatten(), torch.tensor(want))
    assert pyramid.pool_mask(valid, fan_out).tolist() == [
        [x > 0 or i == 0 for i, x in enumerate(want)]
    ]


def test_padding_masks_what_it_adds_and_leaves_a_fitting_map_alone():
    cells = torch.ones(1, 3, 4, 2)
    same, mask = pyramid.pad_to_multiple(cells, None, (3, 2))
    assert same is cells
    assert mask is None
    padded, mask = pyramid.pad_to_multiple(cells, None, (2, 8))
    assert padded.shape == (1, 4, 8, 2)
    assert mask.sum() == 12
    assert mask[0, :3, :4].all()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_cells_and_token_numbers_undo_each_other(levels):
    width, height = 12, 8
    raster = torch.arange(width * height).view(1, height, width, 1)
    tokens = pyramid.map_to_tokens(raster, levels, 1).flatten()  # raster number of each token
    xy = pyramid.cell_of_token(torch.arange(width * height), width, levels)
    assert torch.equal(xy[:, 1] * width + xy[:, 0], tokens)
    assert all(
        pyramid.token_of_cell(tuple(cell), width, levels) == token
        for token, cell in enumerate(xy.tolist())
    )
