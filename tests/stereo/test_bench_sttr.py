import pytest
import torch

from stereo.bench_sttr import QuadtreeLines, print_sttr_cost, print_whole_cost, sttr_with_quadtree


def test_quadtree_lines_update_rows_each_by_itself():
    layer = QuadtreeLines().eval()
    tokens, source = torch.randn(2, 5, 40, 128).unbind(0)
    with torch.no_grad():
        whole = layer(tokens, source, torch.zeros(79, 128))
        row = layer(tokens[2:3], source[2:3], torch.zeros(79, 128))
    assert whole.shape == (5, 40, 128)
    torch.testing.assert_close(whole[2:3], row, atol=1e-5, rtol=1e-5)


def test_the_last_layer_keeps_its_dense_logits():
    layers = sttr_with_quadtree().transformer.cross_layers
    assert [isinstance(layer.attention, QuadtreeLines) for layer in layers] == [True] * 5 + [False]


def test_costs_of_both_are_printed_with_their_ratio():
    lines = []
    print_sttr_cost(lines.append, (6, 60))
    figures = [line for line in lines if "GFLOP" in line]
    assert len(figures) == 4
    assert all("100% of sttr" in line for line in figures[::2])


@pytest.mark.slow
def test_the_whole_network_costs_less_with_quadtree_attention_in_it():
    lines = []
    print_whole_cost(lines.append, (128, 129), training=False)
    assert "whole network, 129 x 128 pixels, forward" in lines[0]
    own, tree = (float(line.split("GFLOP")[0].split()[-1]) for line in lines[1:])
    assert 0 < tree < own
