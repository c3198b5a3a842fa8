import numpy as np
import pytest
import torch

from attention_ops import (
    QuadtreeAttention,
    backends,
    peak_memory,
    softmax_attention,
    use_backend,
)
from attention_ops.mechanism import flat_heads
from attention_ops.pyramid import token_pyramid
from attention_ops.quadtree import Level, descend
from tests.shared_data import shared


def official_module(data, name):
    variant = name[5]
    module = QuadtreeAttention(
        data["q"].shape[1],
        int(data["nhead"]),
        "self",
        topk=tuple(data["topks"].tolist()),
        variant=variant,
        position="lepe" if name.endswith("lepe") else "none",
    )
    weights = {
        key.removeprefix("state_dict/").replace("get_vs", "lepe"): torch.from_numpy(array)
        for key, array in data.items()
        if key.startswith("state_dict/")
    }
    if variant == "B":
        weights["level_weight"] = weights.pop("weight")
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.split(".")[0] in ("query", "key", "value", "out") for key in missing)
    return module


@pytest.mark.parametrize("name", ["QTAttA_8_4_4", "QTAttB_8_4_4", "QTAttB_16_8_8_lepe"])
def test_agrees_with_the_official_quadtree_attention_and_its_gradients(name):
    data = dict(np.load(shared(f"reference/attention/{name}.npz")))
    module = official_module(data, name)
    leaves = {x: torch.from_numpy(data[x]).requires_grad_() for x in "qkv"}
    q, k, v = (leaf.permute(0, 2, 3, 1) for leaf in leaves.values())
    message = flat_heads(module.attend(q, k, v, None, None), module.heads)
    torch.testing.assert_close(message, torch.from_numpy(data["out"]), rtol=1e-5, atol=1e-6)
    (message * torch.from_numpy(data["w"])).sum().backward()
    grads = {x: leaf.grad for x, leaf in leaves.items()}
    if module.level_weight is not None:
        grads["weight"] = module.level_weight.grad
    for i, conv in enumerate(module.lepe or []):
        grads[f"get_vs.{i}.weight"], grads[f"get_vs.{i}.bias"] = conv.weight.grad, conv.bias.grad
    assert len(grads) == sum(key.startswith("grad/") for key in data)
    for key, grad in grads.items():
        want = torch.from_numpy(data[f"grad/{key}"])
        assert want.abs().max() > 0
        scale = want.abs().max().item()
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-6 * max(scale, 1), msg=key)


def test_one_level_of_variant_b_is_full_attention(generator):
    module = QuadtreeAttention(12, 3, "cross", topk=(1,))
    query, source = (torch.randn(2, 5, 3, 12, generator=generator) for _ in range(2))
    got = module.attend(query, source, -source, None, None)
    want = softmax_attention(*(flat_heads(x, 3) for x in (query, source, -source)))
    torch.testing.assert_close(flat_heads(got, 3), want)


def test_weights_of_variant_a_add_up_to_one(generator):
    # With all values 1, a partition of unity gives the message 1 at any selection.
    query, key = (torch.randn(2, 8, 12, 12, generator=generator) for _ in range(2))
    module = QuadtreeAttention(12, 3, "cross", topk=(4, 3, 3), variant="A")
    message = module.attend(query, key, torch.ones_like(key), None, None)
    torch.testing.assert_close(message, torch.ones_like(message))


@pytest.mark.parametrize("fan_out", [2, 4])
def test_lines_descend_like_maps(fan_out, generator):
    # With top-K past the number of tokens every level of B sees all, so its message is full
    # attention at the finest level.
    tokens = torch.randn(3, 2, 16, 5, generator=generator)
    pyramid = token_pyramid(tokens, None, 2, fan_out)
    levels = [Level(x, x, x, None) for x in pyramid]
    *_, finest = descend(levels, (99, 0), "B")
    want = softmax_attention(*[tokens.transpose(1, 2)] * 3).transpose(1, 2)
    torch.testing.assert_close(finest.message, want)


@pytest.mark.parametrize("variant", ["A", "B"])
def test_module_gives_the_same_with_every_backend(variant, generator):
    torch.manual_seed(0)
    module = QuadtreeAttention(12, 3, "self", topk=(4, 3, 3), variant=variant)
    feature = torch.randn(2, 12, 9, 10, generator=generator)
    messages = []
    ready = [name for name, state in backends().items() if state == "ready"]
    for backend in ready:
        with use_backend(backend):
            messages.append(module(feature, feature))
    for message in messages[1:]:
        torch.testing.assert_close(message, messages[0])


@pytest.mark.slow
def test_module_trains_in_one_compiled_graph(generator):
    torch.manual_seed(0)
    module = QuadtreeAttention(8, 2, "self", topk=(4, 3), variant="A")
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((5, 7), (7, 11)):
        feature = torch.randn(1, 8, *size, generator=generator)
        mask = torch.ones(1, *size, dtype=torch.bool)
        grads = []
        for run in (module, compiled):
            module.zero_grad()
            message = run(feature, feature, mask, mask)
            message.square().sum().backward()
            grads.append([message.detach(), module.query.weight.grad.clone()])
        torch.testing.assert_close(*grads)


def test_visited_cells_point_at_the_cell_that_looks_alike():
    # The query cell equals one source cell; with a peaked softmax every level must visit it.
    torch.manual_seed(0)
    module = QuadtreeAttention(16, 2, "cross", topk=(1, 1, 1))
    for layer in (module.query, module.key):
        torch.nn.init.eye_(layer.weight)
    source, query = torch.zeros(1, 16, 8, 12), torch.zeros(1, 16, 6, 10)
    source[0, :, 5, 9] = 8.0
    query[0, :, 1, 2] = 8.0
    visited = module.visited_cells(query, source, (2, 1))
    assert [(v.level, v.stride) for v in visited] == [(0, 4), (1, 2), (2, 1)]
    assert [v.cells.tolist() for v in visited] == [[[2, 1]], [[4, 2]], [[9, 5]]]
    assert all(v.heads.tolist() == [2] for v in visited)


@pytest.mark.parametrize(("backend", "limit_mb"), [("native", 25), ("portable", 30)])
def test_peak_memory_at_4800_tokens_stays_small(backend, limit_mb):
    # Queries, keys and values of the finest level are 15 MB of it, its message another 5.
    if backends()[backend] != "ready":
        pytest.skip(f"backend {backend} is not there: {backends()[backend]}")
    module = QuadtreeAttention(256, 8, "cross", topk=(32, 16, 16))
    cells = torch.zeros(1, 60, 80, 256)
    with torch.no_grad(), use_backend(backend):
        peak = peak_memory(module.attend, cells, cells, cells, None, None)
    assert peak < limit_mb * 1e6


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="topk must be one positive number per level, got"):
        QuadtreeAttention(8, 2, "self", topk=())
    with pytest.raises(ValueError, match=r"are for kind 'self'.*use 'none' and 'pool'"):
        QuadtreeAttention(8, 2, "cross", position="lepe")
