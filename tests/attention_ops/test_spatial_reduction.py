import pytest
import torch
from torch import nn

from attention_ops import build_attention, softmax_attention
from attention_ops.mechanism import flat_heads
from attention_ops.spatial_reduction import pooled_bins
from tests.attention_ops.golden import (
    assert_close_to,
    assert_same_gradients,
    load_golden,
    load_weights,
)

NAMES = {"q.": "query.", "proj.": "out.", "sr.": "reduce.", "norm.": "norm."}


def unpacked(golden, prefix):
    """Weights or gradients under our names; kv is packed (2, heads, D)."""
    weights = golden.named(prefix, NAMES)
    for kind in ("weight", "bias"):
        weights[f"key.{kind}"], weights[f"value.{kind}"] = golden[f"{prefix}/kv.{kind}"].chunk(2)
    return weights


def test_agrees_with_the_official_pvt_and_its_gradients():
    golden = load_golden("PVT_SRA_sr4")
    # The file does not say how many heads there were; only 4 give this output.
    module = build_attention("spatial_reduction", 64, 4, "self", ratio=4, qkv_bias=True)
    load_weights(module, unpacked(golden, "state_dict"))
    x = golden["inputs/x"].clone().requires_grad_()
    feature = x.mT.unflatten(2, (int(golden["inputs/H"]), int(golden["inputs/W"])))
    message = module(feature, feature).flatten(2).mT
    assert_close_to(message, golden["out"])
    (message * golden["w"]).sum().backward()
    assert_close_to(x.grad, golden["grad/x"], "x")
    assert_same_gradients(module, unpacked(golden, "grad"))


def naive_pool(cells, size, module):
    """PVT v2 linear for one map (H, W, C): torch's adaptive pooling of the valid rectangle."""
    pooled = nn.functional.adaptive_avg_pool2d(cells.permute(2, 0, 1)[None], size)
    mixed = module.reduce(pooled).permute(0, 2, 3, 1)
    return nn.functional.gelu(module.norm(mixed)).flatten(1, 2)


@pytest.mark.parametrize("size", [(7, 9), (3, 2), (20, 11)])
def test_pooled_source_equals_adaptive_pooling_of_the_valid_rectangle(size, generator):
    torch.manual_seed(0)
    module = build_attention(
        "spatial_reduction", 8, 2, "cross", reduction="pool", pool_size=5
    ).double()
    query = torch.randn(1, 8, 3, 4, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 8, 24, 13, generator=generator, dtype=torch.float64)
    mask = torch.zeros(1, 24, 13, dtype=torch.bool)
    mask[:, : size[0], : size[1]] = True
    small = naive_pool(source[0, :, : size[0], : size[1]].permute(1, 2, 0), 5, module)
    q = flat_heads(module.query(query.permute(0, 2, 3, 1)), 2)
    k, v = (layer(small).unflatten(2, (2, -1)) for layer in (module.key, module.value))
    want = module.out(softmax_attention(q, k, v).flatten(2)).mT.unflatten(2, (3, 4))
    torch.testing.assert_close(module(query, source, None, mask), want)


def test_a_bin_is_the_mean_of_its_valid_cells_by_hand():
    mask = torch.ones(1, 3, 4, dtype=torch.bool)
    mask[0, 0, 0] = False
    mask[0, 1:, 2:] = False  # still 3 rows and 4 columns: row 2 has valid cells, row 0 column 3
    cells = torch.arange(12.0).view(1, 3, 4, 1) * mask[..., None]
    pooled, valid = pooled_bins(cells, mask, 2)
    # rows {0, 1} and {1, 2}, columns {0, 1} and {2, 3}: (1 + 4 + 5) / 3, (2 + 3) / 2, (4 + 5 + 8 + 9) / 4
    assert pooled.flatten().tolist() == pytest.approx([10 / 3, 2.5, 6.5, 0.0])
    assert valid.flatten().tolist() == [True, True, True, False]


def test_ratio_one_reduces_nothing_but_mixes_channels(generator):
    torch.manual_seed(0)
    module = build_attention("spatial_reduction", 8, 2, "cross", ratio=1)
    full = build_attention("softmax", 8, 2, "cross")
    weights = module.state_dict()
    full.load_state_dict({key: weights[key] for key in full.state_dict()})
    query, source = (torch.randn(1, 8, *s, generator=generator) for s in ((3, 5), (4, 3)))
    mixed = module.norm(module.reduce(source).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(module(query, source), full(query, mixed))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="reduction must be one of conv, pool, got 'max'"):
        build_attention("spatial_reduction", 8, 2, "self", reduction="max")
    with pytest.raises(ValueError, match="ratio and pool_size must be 1 or more, got 0 and 7"):
        build_attention("spatial_reduction", 8, 2, "self", ratio=0)
