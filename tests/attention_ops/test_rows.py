"""Row mechanisms against brute force, and what they share: masks, rows apart, relative positions."""

import pytest
import torch

from attention_ops import ROW_MECHANISMS, build_attention
from attention_ops.rows import rotated, row_turn
from attention_ops.trees import turned

SINGLE_ROWS = [name for name in ROW_MECHANISMS if name.startswith("row")]


def maps(rows=3, width=21, source_width=26, channels=16, batch=2):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(batch, channels, rows, width, generator=generator),
        torch.randn(batch, channels, rows, source_width, generator=generator),
    )


def test_rotated_tokens_have_products_that_depend_on_the_distance_only():
    vector = torch.randn(2, 8, dtype=torch.float64)
    query, key = (rotated(side.expand(40, 8)) for side in vector)
    products = query @ key.T
    for distance in (0, 3, -7):
        line = products.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line))
    assert products.diagonal(5)[0] != pytest.approx(products.diagonal(6)[0].item())


def test_a_pooled_token_is_rotated_by_the_column_of_its_middle():
    vector = torch.randn(8, dtype=torch.float64)
    turn = row_turn([2, 8], [4, 1], 8, vector)
    coarse, fine = turned(vector.expand(10, 8), turn).split([2, 8])
    # the middle of cells 4..7 lies between 5 and 6: as far from 4 as 7 from it
    assert (coarse[1] @ fine[4]).item() == pytest.approx((coarse[1] @ fine[7]).item())


def test_row_softmax_equals_attention_written_out():
    attention = build_attention("row_softmax", 16, 2, "cross").double()
    query, source = (side.double() for side in maps())
    got = attention(query, source)
    q, k, v = (
        layer(side.permute(0, 2, 3, 1)).unflatten(-1, (2, 8)).transpose(2, 3)
        for layer, side in (
            (attention.query, query), (attention.key, source), (attention.value, source),
        )
    )  # fmt: skip
    logits = rotated(q) @ rotated(k).mT / 8**0.5
    want = attention.out((logits.softmax(-1) @ v).transpose(2, 3).flatten(3)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, want)


def test_one_level_of_the_tree_is_full_attention():
    tree = build_attention("row_quadtree", 16, 2, "cross", topk=(64,))
    full = build_attention("row_softmax", 16, 2, "cross")
    full.load_state_dict({k: v for k, v in tree.state_dict().items() if k != "level_weight"})
    query, source = maps()
    torch.testing.assert_close(tree(query, source), full(query, source), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fan_out", [2, 4])
@pytest.mark.parametrize("variant", ["A", "B"])
def test_a_tree_that_keeps_all_ends_in_full_attention_on_its_last_level(fan_out, variant):
    tree = build_attention(
        "row_quadtree", 16, 2, "cross", topk=(64, 64, 64), fan_out=fan_out, variant=variant
    )
    full = build_attention("row_softmax", 16, 2, "cross")
    full.load_state_dict({k: v for k, v in tree.state_dict().items() if k != "level_weight"})
    query, source = maps()
    if variant == "A":
        assert torch.isfinite(tree(query, source)).all()  # its last level is weighted by the others
        return
    with torch.no_grad():
        tree.level_weight.copy_(torch.tensor([-100.0, -100.0, 100.0]))
    torch.testing.assert_close(tree(query, source), full(query, source), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SINGLE_ROWS)
def test_a_row_knows_nothing_of_the_others(name):
    attention = build_attention(name, 16, 2, "cross")
    query, source = maps()
    before = attention(query, source)
    source[:, :, 1] = 100.0
    after = attention(query, source)
    torch.testing.assert_close(after[:, :, [0, 2]], before[:, :, [0, 2]])
    assert not torch.allclose(after[:, :, 1], before[:, :, 1])


@pytest.mark.parametrize("name", SINGLE_ROWS)
def test_what_lies_under_a_mask_changes_nothing(name):
    attention = build_attention(name, 16, 2, "cross")
    query, source = maps()
    mask = torch.rand(source.shape[0], *source.shape[2:]) > 0.3
    mask[0, 0] = False  # a row without any valid cell
    want = attention(query, source, None, mask)
    got = attention(query, source.masked_fill(~mask[:, None], float("nan")), None, mask)
    torch.testing.assert_close(got, want)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("name", ["row_softmax", "row_quadtree"])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_rows_narrower_than_the_tree_are_served(name, width):
    attention = build_attention(name, 16, 2, "self")
    query, _ = maps(width=width)
    message = attention(query, query)
    assert message.shape == query.shape
    assert torch.isfinite(message).all()


def test_gradients_reach_every_weight():
    attention = build_attention("row_quadtree", 16, 2, "cross", topk=(2, 2, 2))
    attention(*maps()).square().sum().backward()
    for name, weight in attention.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_maps_of_other_heights_are_refused():
    attention = build_attention("row_quadtree", 16, 2, "cross")
    with pytest.raises(ValueError, match="same number of rows, got 3 and 4"):
        attention(maps()[0], maps(rows=4)[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fan_out": 3}, "fan_out must be 2 or 4, got 3"),
        ({"topk": ()}, "topk"),
        ({"variant": "C"}, "variant"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build_attention("row_quadtree", 16, 2, "cross", **settings)


def test_an_odd_head_cannot_be_rotated():
    with pytest.raises(ValueError, match="even"):
        build_attention("row_softmax", 6, 2, "cross")
