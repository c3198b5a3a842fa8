import pytest
import torch

from attention_ops import peak_memory
from matching import fine as fine_module
from matching.fine import LoftrFine, cut_windows, expectation


def case(generator, matches, dtype=torch.float64, side=24):
    """A small stage, and arguments for it: two maps of a batch of two, and random matches."""
    stage = LoftrFine(12, 8, window=5, heads=2).to(dtype)
    maps = tuple(torch.randn(2, 8, side, side, generator=generator, dtype=dtype) for _ in range(2))
    tokens = tuple(torch.randn(matches, 12, generator=generator, dtype=dtype) for _ in range(2))
    pair = torch.randint(2, (matches,), generator=generator)
    corners = tuple(
        4 * torch.randint(side // 4, (matches, 2), generator=generator) for _ in range(2)
    )
    return stage, (maps, tokens, pair, corners)


def test_windows_are_those_of_unfold_at_every_cell_edges_too(generator):
    feature = torch.randn(2, 3, 16, 12, generator=generator)
    unfolded = torch.nn.functional.unfold(feature, 5, stride=4, padding=2)  # (B, D * 25, cells)
    pair, row, column = torch.ones(2, 4, 3).nonzero(as_tuple=True)
    got = cut_windows(feature, pair, torch.stack([4 * column, 4 * row], -1), 5)
    want = unfolded.unflatten(1, (3, 5, 5)).permute(0, 4, 2, 3, 1).flatten(0, 1)
    assert torch.equal(got, want)


def test_expectation_of_a_certain_match_is_its_cell():
    # The query is found in row 1, column 4 of 5: two cells right of the middle, one up.
    window = torch.zeros(1, 4, 5, 5)
    window[0, 2, 1, 4] = 500.0
    mean, spread = expectation(torch.tensor([[0.0, 0.0, 1.0, 0.0]]), window)
    assert mean.tolist() == [[2.0, -1.0]]
    # Variance 0 is floored at 1e-10 half windows squared: 2 axes * 1e-5 * 2 cells.
    assert spread.item() == pytest.approx(4e-5)


def test_expectation_of_no_preference_is_the_middle_with_the_spread_of_the_grid():
    mean, spread = expectation(torch.zeros(1, 4), torch.ones(1, 4, 5, 5))
    assert mean.abs().max() < 1e-6
    # Cells -2..2: variance (4 + 1 + 0 + 1 + 4) / 5 = 2 on either axis, summed as deviations.
    assert spread.item() == pytest.approx(2 * 2**0.5)


def test_gradients_of_a_certain_match_are_finite():
    window = torch.zeros(1, 4, 5, 5)
    window[0, 2, 1, 4] = 500.0
    window.requires_grad_()
    mean, spread = expectation(torch.tensor([[0.0, 0.0, 1.0, 0.0]]), window)
    (mean.sum() + spread.sum()).backward()
    assert window.grad.isfinite().all()


def test_gradients_reach_maps_and_tokens_and_are_right(generator):
    stage, (maps, tokens, pair, corners) = case(generator, 3, side=8)
    inputs = [x.requires_grad_() for x in (*maps, *tokens)]

    def run(map0, map1, token0, token1):
        found = stage((map0, map1), (token0, token1), pair, corners)
        return found.search, found.spread

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_offsets_are_two_pixels_a_cell_of_what_forward_finds(generator):
    stage, arguments = case(generator, 9)
    found = stage(*arguments)
    offset, spread = stage.offsets(*arguments)
    torch.testing.assert_close(offset, 2 * found.search)
    torch.testing.assert_close(spread, 2 * found.spread)
    assert offset.abs().max() <= 4 + 1e-6  # the window reaches two cells
    assert not offset.requires_grad


def test_matches_in_chunks_are_those_of_one_go(generator, monkeypatch):
    stage, arguments = case(generator, 11)
    whole = stage.offsets(*arguments)
    monkeypatch.setattr(fine_module, "CHUNK", 4)
    for got, want in zip(stage.offsets(*arguments), whole, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_match_does_not_depend_on_the_others(generator):
    stage, (maps, tokens, pair, corners) = case(generator, 6)
    offset, _ = stage.offsets(maps, tokens, pair, corners)
    alone = tokens[0][4:5], tokens[1][4:5]
    there = corners[0][4:5], corners[1][4:5]
    torch.testing.assert_close(stage.offsets(maps, alone, pair[4:5], there)[0], offset[4:5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_matches_give_empty_results(generator, dtype):
    stage, arguments = case(generator, 0, dtype)
    offset, spread = stage.offsets(*arguments)
    assert offset.shape == (0, 2)
    assert spread.shape == (0,)
    assert offset.dtype == spread.dtype == dtype


def test_memory_does_not_grow_with_the_number_of_matches(generator, monkeypatch):
    monkeypatch.setattr(fine_module, "CHUNK", 16)
    stage, few = case(generator, 16, torch.float32)
    _, many = case(generator, 160, torch.float32)
    assert peak_memory(stage.offsets, *many) < 1.2 * peak_memory(stage.offsets, *few)


def test_autocast_does_not_reach_the_heat_map(generator):
    query = torch.randn(7, 8, generator=generator)
    window = torch.randn(7, 8, 5, 5, generator=generator)
    want = expectation(query, window)
    with torch.autocast("cpu", torch.bfloat16):
        got = expectation(query, window)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


def test_offsets_are_float32_under_autocast(generator):
    stage, arguments = case(generator, 5, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert {x.dtype for x in stage.offsets(*arguments)} == {torch.float32}


@pytest.mark.parametrize("window", [1, 4])
def test_even_or_tiny_windows_are_refused(window):
    with pytest.raises(ValueError, match="window must be odd"):
        LoftrFine(12, 8, window=window, heads=2)
