import pytest
import torch

from attention_ops import (
    MECHANISMS,
    Mechanism,
    analytic_flops,
    build_attention,
    flops,
    mechanism_cost,
)
from tests.attention_ops.test_mechanism import CASES


def build(case, kind):
    return build_attention(case.partition("-")[0], 12, 3, kind, **CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_counted_flops_equal_the_formula(case):
    kinds = ["self"] if case == "quadtree-lepe" else ["self", "cross"]
    for kind in kinds:
        module = build(case, kind).eval()
        for grid, source_grid in (((7, 10), (7, 10)), ((9, 5), (6, 13))):
            if kind == "self" and grid != source_grid:
                continue
            query, source = torch.zeros(1, 12, *grid), torch.zeros(1, 12, *source_grid)
            with torch.no_grad():
                assert flops(module, query, source) == analytic_flops(module, grid, source_grid)


@pytest.mark.parametrize("name", MECHANISMS)
def test_no_mechanism_counts_only_its_projections(name):
    module = build_attention(name, 8, 2, "self")
    L = 8 * 8
    projected = {"query": L, "out": L, "key": L, "value": L}
    if name in ("spatial_reduction", "deformed"):
        projected |= {"key": L // 16, "value": L // 16}
    layers = ("out", *module.projections)
    projections = sum(2 * projected[layer] * 8 * 8 for layer in layers)
    assert flops(module, *[torch.zeros(1, 8, 8, 8)] * 2) > projections


def test_softmax_by_hand():
    module = build_attention("softmax", 4, 2, "cross")
    # two projections of 6 queries and two of 10 keys, 4 x 4 each; two products of 6 x 10 x 4
    want = 2 * (2 * (6 + 10) * 4 * 4 + 2 * 6 * 10 * 4)
    assert analytic_flops(module, (2, 3), (2, 5)) == want
    assert mechanism_cost(module, (2, 3), (2, 5)).flops == want
    assert mechanism_cost(module, (2, 3), (2, 5), batch=3).flops == 3 * want


@pytest.mark.parametrize("name", ["softmax", "multiscale_deformable"])
def test_a_training_step_costs_more_and_leaves_no_gradient(name):
    module = build_attention(name, 8, 2, "cross")
    forward = mechanism_cost(module, (8, 8))
    step = mechanism_cost(module, (8, 8), training=True)
    assert step.flops >= 2 * forward.flops
    assert step.peak_bytes >= forward.peak_bytes
    assert forward.parameters == sum(p.numel() for p in module.parameters())
    assert all(p.grad is None for p in module.parameters())


def test_peak_memory_of_a_call_holds_the_message():
    module = build_attention("linear", 8, 2, "cross")
    cost = mechanism_cost(module, (40, 40), (40, 40))
    message = 4 * 8 * 40 * 40
    assert 3 * message < cost.peak_bytes < 20 * message  # queries, keys, values and phi of them


def test_a_class_without_a_formula_is_refused():
    with pytest.raises(
        ValueError, match=r"module must be one of .*SoftmaxAttention.*, got Mechanism"
    ):
        analytic_flops(Mechanism(8, 2, "self"), (4, 4))


@pytest.mark.parametrize("cost", [analytic_flops, mechanism_cost])
def test_a_map_without_cells_is_refused(cost):
    attention = build_attention("softmax", 8, 2, "cross")
    with pytest.raises(ValueError, match="at least one cell"):
        cost(attention, (-1, 3))
    with pytest.raises(ValueError, match="at least one cell"):
        cost(attention, (2, 3), (0, 3))
