"""Trees of tokens: by hand, each op the transpose of the other, native equal to plain PyTorch."""

import pytest
import torch

from attention_ops import native, use_backend
from attention_ops.tree_ops import merge, pyramid
from attention_ops.trees import Grid, merged, pyramid_of, valid_tokens

FANS = [((2, 2), (5, 7)), ((2, 2), (8, 12)), ((1, 2), (1, 13)), ((1, 4), (1, 33)), ((2, 2), (1, 1))]
needs_library = pytest.mark.skipif(
    native.LOAD_ERROR is not None, reason=f"native backend: {native.LOAD_ERROR}"
)


def random_tree(fan, size, levels, channels, generator, dtype=torch.float64):
    """Cells, mask, turn and tokens of one tree, all random, two heads."""
    sizes = Grid(*size, levels, fan).tokens
    half = channels // 4
    angle = torch.rand(sum(sizes), half, generator=generator, dtype=torch.float64)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)), 1)
    return (
        torch.randn(2, *size, channels, generator=generator, dtype=torch.float64).to(dtype),
        torch.rand(2, *size, generator=generator) > 0.4,
        turn if dtype == torch.float64 else turn.float(),
        [
            torch.randn(2, 2, n, channels // 2, generator=generator, dtype=torch.float64).to(dtype)
            for n in sizes
        ],
    )


def test_tokens_of_a_padded_map_by_hand():
    # 3 x 3 cells 0..8 in trees of 2 x 2: the second block has the cells 2 and 5 only, and so on.
    cells = torch.arange(9.0).view(1, 3, 3, 1)
    coarse, fine = pyramid(cells, None, 1, 2, (2, 2))
    assert coarse.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]
    assert fine.flatten().tolist() == [0, 1, 3, 4, 2, 0, 5, 0, 6, 7, 0, 0, 8, 0, 0, 0]


def test_a_parent_is_the_mean_of_its_valid_children_by_hand():
    cells = torch.tensor([1.0, 5.0, torch.nan, 8.0, torch.nan, torch.nan]).view(1, 1, 6, 1)
    mask = torch.tensor([True, True, False, True, False, False]).view(1, 1, 6)
    coarse, middle, fine = pyramid(cells, mask, 1, 3, (1, 2))
    assert fine.flatten().tolist() == [1, 5, 0, 8, 0, 0, 0, 0]
    assert middle.flatten().tolist() == [3, 8, 0, 0]
    assert coarse.flatten().tolist() == [5.5, 0]  # of the means 3 and 8
    valid = valid_tokens(cells, mask, 3, (1, 2))
    assert [level.flatten().int().tolist() for level in valid] == [
        [1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 1, 0, 0, 0, 0],
    ]


def test_levels_merge_by_giving_a_parents_message_to_its_children():
    coarse, fine = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1), torch.arange(8.0).view(1, 1, 8, 1)
    assert merge([coarse, fine], None, (1, 8), (1, 4)).flatten().tolist() == [
        1,
        2,
        3,
        4,
        6,
        7,
        8,
        9,
    ]
    weight = torch.tensor([0.5, 2.0])
    weighted = merge([coarse, fine], weight, (1, 7), (1, 4)).flatten().tolist()
    assert weighted == [0.5, 2.5, 4.5, 6.5, 9.0, 11.0, 13.0]


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("fan", "size"), FANS)
def test_each_is_the_transpose_of_the_other(fan, size, levels, mean, generator):
    cells, mask, turn, tokens = random_tree(fan, size, levels, 8, generator)
    up = pyramid_of(cells, mask, turn, 2, levels, fan, mean)
    down = merged(tokens, None, mask, turn, size, fan, mean)
    over_tokens = sum((x * y).sum() for x, y in zip(up, tokens, strict=True))
    torch.testing.assert_close(over_tokens, (cells * down).sum())


@needs_library
@pytest.mark.parametrize("channels", [4, 12, 32, 64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("fan", "size"), FANS)
def test_native_trees_equal_plain_ones(fan, size, masked, channels, generator):
    for levels in (1, 2, 4):
        cells, mask, turn, tokens = random_tree(fan, size, levels, channels, generator, torch.float)
        weight = torch.rand(levels, generator=generator)
        if masked:
            cells.masked_fill_(~mask[..., None], torch.nan)
        for mean in (True, False):
            for angles in (None, turn):
                got, want = both_backends(
                    cells, mask if masked else None, angles, tokens, weight, levels, fan, mean
                )
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def both_backends(cells, mask, turn, tokens, weight, levels, fan, mean):
    """[tokens of the cells, cells of the tokens] by the library and in plain PyTorch."""
    results = []
    for backend in ("native", "portable"):
        with use_backend(backend):
            up = torch.ops.quadview.pyramid(cells, mask, turn, 2, levels, *fan, mean)
            size = cells.shape[1:3]
            down = torch.ops.quadview.merge(tokens, weight, mask, turn, *size, *fan, mean)
        results.append([*up, down])
    return results


@needs_library
def test_native_trees_of_bfloat16_round_once(generator):
    cells, mask, turn, tokens = random_tree((2, 2), (9, 6), 3, 64, generator, torch.float)
    cells, tokens = cells.bfloat16(), [level.bfloat16() for level in tokens]
    weight = torch.rand(3, generator=generator)
    got, want = both_backends(cells, mask, turn, tokens, weight, 3, (2, 2), True)
    for x, y in zip(got, want, strict=True):
        assert x.dtype == torch.bfloat16
        torch.testing.assert_close(x.float(), y.float(), rtol=2**-8, atol=1e-5)


@needs_library
def test_native_trees_are_the_same_bits_for_every_number_of_threads(generator):
    cells, mask, turn, tokens = random_tree((2, 2), (131, 67), 3, 64, generator, torch.float)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            up = pyramid(cells, mask, 2, 3, (2, 2), turn)
            results.append([*up, merge(tokens, None, (131, 67), (2, 2))])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("fan", [(2, 2), (1, 4)])
def test_gradients_of_both_ops(fan, generator):
    cells, mask, turn, tokens = random_tree(fan, (3, 5), 2, 8, generator)
    weight = torch.rand(2, generator=generator, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (cells, weight, *tokens)]
    assert torch.autograd.gradcheck(lambda x: pyramid(x, mask, 2, 2, fan, turn), inputs[:1])
    assert torch.autograd.gradcheck(lambda w, *x: merge(list(x), w, (3, 5), fan), inputs[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ops_pass_opcheck(dtype, generator):
    cells, mask, turn, tokens = random_tree((2, 2), (3, 5), 2, 8, generator, dtype)
    weight = torch.rand(2, dtype=dtype).requires_grad_()
    cells.requires_grad_()
    ops = torch.ops.quadview
    torch.library.opcheck(ops.pyramid, (cells, mask, turn, 2, 2, 2, 2, True))
    tokens = [level.requires_grad_() for level in tokens]
    torch.library.opcheck(ops.merge, (tokens, weight, mask, None, 3, 5, 2, 2, False))


def test_a_tree_never_reads_what_is_masked(generator):
    cells, mask, turn, _ = random_tree((2, 2), (6, 7), 3, 8, generator)
    spoilt = cells.masked_fill(~mask[..., None], torch.nan)
    for x, y in zip(
        pyramid(cells, mask, 2, 3, (2, 2), turn),
        pyramid(spoilt, mask, 2, 3, (2, 2), turn),
        strict=True,
    ):
        assert torch.equal(x, y)
