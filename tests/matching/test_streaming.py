import resource
from dataclasses import astuple
from math import prod

import pytest
import torch

from matching import streaming
from matching.coarse import match_dense, match_streaming
from matching.streaming import best_pairs, log_sum_exps, product_tiles
from tests.matching.test_coarse import random_masks, random_tokens

pytestmark = pytest.mark.once

TILES = [(5, 7), (16, 32), (37, 41), (64, 512), (512, 1024)]
SIZES = [(1, 1), (1, 40), (37, 1), (64, 128), (63, 129), (131, 257)]
CASES = [(L, S, tile) for tile in TILES for L, S in SIZES if 100 * prod(tile) > L * S]


def same(found, want) -> bool:
    return all(torch.equal(a, b) for a, b in zip(astuple(found), astuple(want), strict=True))


@pytest.mark.parametrize(("L", "S", "tile"), CASES)
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_float64_equals_the_dense_version_bit_for_bit(generator, L, S, tile, threshold):
    for channels in (7, 64):
        tokens = random_tokens(generator, L, S, C=channels, B=1 + (channels == 7))
        masks = random_masks(generator, L, S, B=len(tokens[0]))
        for pair_masks in [(None, None), (masks[0], None)]:
            arguments = (*tokens, 12.0 / channels, *pair_masks, *masks, threshold, tile)
            assert same(match_streaming(*arguments), match_dense(*arguments))


@pytest.mark.parametrize("tile", TILES[2:])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_float32_finds_the_matches_of_the_dense_version(generator, tile, threshold):
    tokens0, tokens1 = random_tokens(generator, 300, 431, C=64, dtype=torch.float32)
    arguments = (
        tokens0,
        tokens1,
        0.15,
        *random_masks(generator, 300, 431),
        None,
        None,
        threshold,
        tile,
    )
    found, want = match_streaming(*arguments), match_dense(*arguments)
    assert len(want.pair) > 50
    torch.testing.assert_close(by_cell(found)[1], by_cell(want)[1], rtol=1e-5, atol=1e-6)
    assert torch.equal(by_cell(found)[0], by_cell(want)[0])


def by_cell(found):
    """Cells (N, 3) and confidences (N,) by pair and cell, so that rounding cannot reorder them."""
    order = (found.pair * 10000 + found.cell0).argsort()
    return torch.stack([found.pair, found.cell0, found.cell1], 1)[order], found.confidence[order]


def test_another_tile_finds_the_same_matches(generator):
    tokens0, tokens1 = random_tokens(generator, 120, 90)
    want = by_cell(match_streaming(tokens0, tokens1, 0.8))
    for tile in TILES:
        cells, confidence = by_cell(match_streaming(tokens0, tokens1, 0.8, tile=tile))
        assert torch.equal(cells, want[0])
        torch.testing.assert_close(confidence, want[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (8, 8)])
def test_ties_across_tiles_go_to_the_lower_cell(tile):
    tokens = torch.ones(1, 5, 1, dtype=torch.float64)
    found = match_streaming(tokens, tokens, 1.0, threshold=0.01, tile=tile)
    assert (found.cell0.tolist(), found.cell1.tolist()) == ([0], [0])


def test_normalisers_equal_logsumexp_over_a_wide_range(generator):
    # rows of very different size: every way of shifting the exponential is taken
    tokens0 = torch.randn(90, 8, generator=generator) * torch.logspace(-2, 2.5, 90)[:, None]
    tokens1 = torch.randn(70, 8, generator=generator)
    sums = log_sum_exps(product_tiles(tokens0, tokens1, (16, 32)), tokens0, tokens1, (16, 32))
    product = tokens0.double() @ tokens1.double().T
    torch.testing.assert_close(sums.row.double(), product.logsumexp(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sums.column.double(), product.logsumexp(0), rtol=1e-5, atol=1e-5)
    want = torch.stack([part.amax(1) for part in product.split(32, 1)], 1)
    torch.testing.assert_close(sums.tile_max.double(), want, rtol=1e-5, atol=1e-4)


def test_rows_that_are_not_alive_are_not_visited():
    tokens0 = torch.tensor([[3.0], [2.0]])
    tokens1 = torch.tensor([[1.0], [4.0]])
    offsets = torch.zeros(2), torch.zeros(2)
    alive = torch.tensor([[True, False], [True, True]])
    found = best_pairs(tokens0, tokens1, 1.0, offsets, alive, tile=(2, 1))
    # row 0 may see column 0 only (3 > 2), row 1 both: 2 at column 0, 8 at column 1
    assert (found.row.tolist(), found.column.tolist()) == ([0, 1], [0, 1])
    assert found.score.tolist() == [3.0, 8.0]


def test_the_second_pass_multiplies_little_of_the_matrix(generator, monkeypatch):
    tokens0 = torch.nn.functional.normalize(torch.randn(1, 1024, 32, generator=generator), dim=-1)
    tokens1 = tokens0[:, torch.randperm(1024, generator=generator)]
    counts = []
    product = streaming._product

    def counted(rows, columns, workspace):
        counts.append(len(rows) * len(columns))
        return product(rows, columns, workspace)

    monkeypatch.setattr(streaming, "_product", counted)
    found = match_streaming(tokens0, tokens1, 30.0, tile=(128, 64))
    assert len(found.pair) == 1024
    assert sum(counts) < 1.2 * 1024 * 1024


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_without_a_candidate_are_passed_over(dtype):
    # all confidences are 1 / 36, so no row is visited
    tokens = torch.ones(1, 6, 2, dtype=dtype)
    assert not len(match_streaming(tokens, tokens, 1.0, threshold=0.2, tile=(2, 2)).pair)


def test_the_process_does_not_grow_by_the_matrix(generator):
    # pieces kept from every tile once pinned the freed tiles between them
    tokens0, tokens1 = random_tokens(generator, 8192, 8192, C=16, B=1, dtype=torch.float32)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    match_streaming(tokens0, tokens1, 0.5)
    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after_kib - before_kib < 8192 * 8192 * 4 / 1024 / 4


def test_peak_memory_is_far_below_that_of_the_matrix(generator):
    tokens0, tokens1 = random_tokens(generator, 4096, 4096, C=16, B=1, dtype=torch.float32)
    match_streaming(tokens0[:, :64], tokens1[:, :64], 0.5)
    with torch.profiler.profile(profile_memory=True) as profile:
        match_streaming(tokens0, tokens1, 0.5)
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = torch.tensor([event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())])
    assert len(held) > 100
    assert int(held.cumsum(0).max()) < 4096 * 4096 * 4 / 5


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("tile", [None, (64, 128)])
def test_on_a_gpu_equals_the_dense_version_and_the_cpu(generator, tile):
    tokens, masks = random_tokens(generator, 700, 431), random_masks(generator, 700, 431)
    want = match_streaming(*tokens, 0.7, *masks, tile=tile)
    there = [x.cuda() for x in (*tokens, *masks)]
    found = match_streaming(*there[:2], 0.7, *there[2:], tile=tile)
    assert same(found, match_dense(*there[:2], 0.7, *there[2:], tile=tile))
    cells, confidence = (x.cpu() for x in by_cell(found))
    assert torch.equal(cells, by_cell(want)[0])
    torch.testing.assert_close(confidence, by_cell(want)[1])
