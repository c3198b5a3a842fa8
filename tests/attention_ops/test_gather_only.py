import os

import pytest
import torch

from attention_ops import build_attention, coarse_attention, fine_attention, use_backend
from attention_ops.gather_only import active, gather_only
from attention_ops.tree_ops import merge, pyramid
from tests.attention_ops.op_cases import FINE_SIZES, random_inputs, run_coarse, run_fine

RUNS = {"coarse": run_coarse, "fine": run_fine}


pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="no backend stands behind these functions"
)


@pytest.mark.parametrize("op", RUNS)
@pytest.mark.parametrize("variant", ["A", "B"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", FINE_SIZES)
def test_equals_the_reference_with_all_gradients(op, variant, masked, sizes, generator):
    inputs = random_inputs(sizes, generator, masked=masked)
    with use_backend("reference"):
        want = RUNS[op](inputs, variant)
    with gather_only():
        got = RUNS[op](inputs, variant)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("variant", ["A", "B"])
def test_of_equal_candidates_the_lower_ones_are_taken(variant):
    # All keys are alike, so that only their place tells them apart.
    query, key = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 9, 4)
    children = torch.ones(1, 1, 3, 1, 4)
    parents = torch.tensor([[[[2, 0], [1, 2]]]], dtype=torch.int32)
    score = torch.ones(1, 1, 2, 2) if variant == "A" else None
    with gather_only():
        above = coarse_attention(query, key, key, topk=3, variant=variant)
        below = fine_attention(
            query[:, :, :, None],
            children,
            children,
            parents,
            topk=1,
            parent_score=score,
            variant=variant,
        )
    assert above.index.tolist() == [[[[0, 1, 2], [0, 1, 2]]]]
    assert below.index.flatten().tolist() == [2, 1]  # the first candidate of either parent


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 3), (9, 12)])
@pytest.mark.parametrize("fan", [(2, 2), (1, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_trees_equal_the_ops(size, fan, masked, generator):
    cells = torch.randn(2, *size, 8, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, *size, generator=generator) > 0.4 if masked else None
    weight = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    want = pyramid(cells, mask, 2, 3, fan)
    with gather_only():
        got = pyramid(cells, mask, 2, 3, fan)
        merged = merge(got, weight, size, fan), merge(got, None, size, fan)
    torch.testing.assert_close(got, want)
    wanted = merge(want, weight, size, fan), merge(want, None, size, fan)
    torch.testing.assert_close(merged, wanted)


@pytest.mark.parametrize("variant", ["A", "B"])
def test_the_graph_of_a_layer_holds_no_op_of_ours(variant, generator):
    layer = build_attention("quadtree", 16, 2, "cross", topk=(4, 3, 2), variant=variant).eval()
    maps = [torch.randn(1, 16, *size, generator=generator) for size in ((9, 12), (8, 7))]
    with torch.no_grad():
        want = layer(*maps)
        plain = torch.export.export(layer, tuple(maps))
        with gather_only():
            traced = torch.export.export(layer, tuple(maps))
    assert any("quadview" in str(node.target) for node in plain.graph.nodes)
    assert not any("quadview" in str(node.target) for node in traced.graph.nodes)
    torch.testing.assert_close(traced.module()(*maps), want, atol=1e-5, rtol=1e-5)


def test_the_mode_ends_with_the_block_even_after_an_error():
    tokens = torch.ones(1, 1, 2, 4)

    def fail():
        with gather_only():
            assert active()
            coarse_attention(tokens, tokens, tokens, topk=-1)

    with pytest.raises(ValueError, match="topk"):
        fail()
    assert not active()
