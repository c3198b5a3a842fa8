import torch
from torch import nn

from attention_ops import build_attention
from attention_ops.quadtree_classification import MapNorm, ValueBranch
from tests.attention_ops.golden import (
    assert_close_to,
    assert_same_gradients,
    load_golden,
    load_weights,
)

NAMES = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "proj": "out",
    "py_att.weight": "level_weight",
    "py_att.get_vs": "lepe",
}
STEPS = {"0": "norm1", "2": "halve", "3": "norm2", "5": "mix"}
NAMES |= {
    f"value_branchs.{i}.{step}": f"branches.{i}.{name}"
    for i in (0, 1)
    for step, name in STEPS.items()
}


def test_agrees_with_the_official_block_and_its_gradients():
    golden = load_golden("QuadTreeCls_B_sr3")
    module = build_attention("quadtree_classification", 64, 4, "self", topk=(8, 8, 8))
    load_weights(module, golden.named("state_dict", NAMES))
    x = golden["inputs/x"].clone().requires_grad_()
    feature = x.mT.unflatten(2, (int(golden["inputs/H"]), int(golden["inputs/W"])))
    message = module(feature, feature).flatten(2).mT
    assert_close_to(message, golden["out"])
    (message * golden["w"]).sum().backward()
    assert_close_to(x.grad, golden["grad/x"], "x")
    assert_same_gradients(module, golden.named("grad", NAMES))


def test_norm_of_valid_cells_is_that_of_a_map_without_the_others(generator):
    cells = torch.randn(1, 3, 6, 4, generator=generator)
    mask = torch.zeros(1, 3, 6, dtype=torch.bool)
    mask[:, :, :4] = True
    norm, theirs = MapNorm(4), nn.GroupNorm(1, 4)
    for layer in (norm.weight, theirs.weight):
        layer.data = torch.tensor([1.0, 2.0, -1.0, 0.5])
    want = theirs(cells[:, :, :4].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(norm(cells, mask)[:, :, :4], want)
    torch.testing.assert_close(
        norm(cells, None), theirs(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    )


def test_branch_of_a_map_without_valid_cells_is_finite(generator):
    branch = ValueBranch(4)
    cells = torch.zeros(1, 2, 4, 4)
    assert branch(cells, torch.zeros(1, 2, 4, dtype=torch.bool)).isfinite().all()


def test_a_cross_layer_has_no_position_encoding():
    assert build_attention("quadtree_classification", 8, 2, "cross").lepe is None
    assert build_attention("quadtree_classification", 8, 2, "self").lepe is not None
