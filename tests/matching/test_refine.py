import pytest
import torch

from matching.refine import MARGIN, PatchRefiner, _grid, _padded


@pytest.fixture
def refiner(generator):
    torch.manual_seed(0)
    return PatchRefiner(coarse_channels=8, fine_channels=4).eval()


def matches(generator, count, cells=4, batch=2):
    pair = torch.randint(batch, (count,), generator=generator).sort().values
    corner0 = 4 * torch.randint(cells, (count, 2), generator=generator)
    corner1 = 4 * torch.randint(cells, (count, 2), generator=generator)
    tokens = torch.randn(2, count, 8, generator=generator)
    fine = torch.randn(2, batch, 4, 4 * cells, 4 * cells, generator=generator)
    return fine.unbind(0), tokens.unbind(0), pair, (corner0, corner1)


def test_the_grid_is_centred_on_the_cell():
    assert _grid(2, torch.zeros(())).tolist() == [
        [-0.5, -0.5],
        [0.5, -0.5],
        [-0.5, 0.5],
        [0.5, 0.5],
    ]


def test_cells_are_read_from_where_the_corner_points(refiner):
    fine = torch.arange(64.0).view(1, 1, 8, 8)
    # the four middle cells of the coarse cell whose top-left fine cell is (4, 0): rows 1-2, columns 5-6
    cells = refiner._cells(_padded(fine), torch.tensor([0]), torch.tensor([[4, 0]]), 2)
    assert cells.flatten().tolist() == [13.0, 14.0, 21.0, 22.0]


def test_a_patch_between_cells_is_their_mean(refiner):
    fine = torch.arange(64.0).view(1, 1, 8, 8)  # value = 8 y + x, linear: bilinear is exact
    maps = _padded(fine)
    whole = refiner._sample(maps, torch.tensor([0]), torch.tensor([[1.0, 1.0]]))
    moved = refiner._sample(maps, torch.tensor([0]), torch.tensor([[1.25, 1.5]]))
    assert torch.allclose(moved - whole, torch.full_like(moved, 0.25 + 8 * 0.5), atol=1e-5)


def test_windows_at_every_edge_stay_inside_the_padded_map(refiner, generator):
    fine, _, _, _ = matches(generator, 1)
    corners = torch.tensor([[0, 0], [12, 0], [0, 12], [12, 12]])
    pair = torch.zeros(4, dtype=torch.long)
    tokens = torch.randn(2, 4, 8, generator=generator).unbind(0)
    found = refiner(fine, tokens, pair, (corners, corners))
    assert all(torch.isfinite(step).all() for step in found.steps)
    far = corners.float() + torch.tensor([50.0, -50.0])
    assert torch.isfinite(refiner._sample(_padded(fine[1]), pair, far)).all()
    assert refiner.window // 2 + 4 <= MARGIN


def test_each_match_is_refined_on_its_own(refiner, generator):
    fine, tokens, pair, corners = matches(generator, 7)
    together, spread = refiner.offsets(fine, tokens, pair, corners)
    one = refiner.offsets(
        fine, (tokens[0][3:4], tokens[1][3:4]), pair[3:4], (corners[0][3:4], corners[1][3:4])
    )
    torch.testing.assert_close(together[3:4], one[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spread[3:4], one[1], atol=1e-5, rtol=1e-5)


def test_no_matches_give_empty_offsets(refiner, generator):
    offset, spread = refiner.offsets(*matches(generator, 0))
    assert offset.shape == (0, 2)
    assert spread.shape == (0,)


def test_gradients_reach_every_parameter_and_both_maps(generator):
    refiner = PatchRefiner(coarse_channels=8, fine_channels=4)
    fine, tokens, pair, corners = matches(generator, 9)
    fine = tuple(x.clone().requires_grad_() for x in fine)
    found = refiner(fine, tokens, pair, corners)
    sum(step.square().sum() for step in (found.search, *found.steps, *found.log_spread)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in refiner.parameters())
    assert all(x.grad.abs().sum() > 0 for x in fine)
