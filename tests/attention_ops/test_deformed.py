import pytest
import torch
from torch import nn

from attention_ops import build_attention
from tests.attention_ops.golden import (
    assert_close_to,
    assert_same_gradients,
    load_golden,
    load_weights,
)

NAMES = {
    "proj_q": "query",
    "proj_k": "key",
    "proj_v": "value",
    "proj_out": "out",
    "conv_offset.0": "offset_conv",
    "conv_offset.1.norm": "offset_norm",
    "conv_offset.3": "offset_out",
    "rpe_table": "bias_table",
}


def ours(golden, prefix):
    """Weights or gradients; the official offsets are y, x and ours x, y."""
    weights = golden.named(prefix, NAMES)
    return weights | {"offset_out.weight": weights["offset_out.weight"].flip(0)}


def test_agrees_with_the_official_module_and_its_gradients():
    golden = load_golden("DAT_rpe")
    settings = {
        "stride": int(golden["kwargs/stride"]),
        "kernel": int(golden["kwargs/ksize"]),
        "groups": int(golden["kwargs/n_groups"]),
        "offset_range": float(golden["kwargs/offset_range_factor"]),
        "table": tuple(golden["kwargs/q_size"].tolist()),
    }
    module = build_attention("deformed", 64, 4, "self", qkv_bias=True, **settings)
    load_weights(module, ours(golden, "state_dict"))
    x = golden["inputs/x"].clone().requires_grad_()
    message = module(x, x)
    assert_close_to(message, golden["out"])
    (message * golden["w"]).sum().backward()
    assert_close_to(x.grad, golden["grad/x"], "x")
    assert_same_gradients(module, ours(golden, "grad"))
    query = module.query(x.permute(0, 2, 3, 1))
    keys = module.keys(query, torch.tensor([[24, 16]]).expand(2, 2))
    position = keys.position.unflatten(1, (4, 6)).unflatten(0, (2, 2))
    assert_close_to(position.flip(-1), golden["pos"], "pos")


def make(**settings):
    torch.manual_seed(0)
    module = build_attention("deformed", 8, 2, "cross", qkv_bias=True, **settings).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def interpolated(table, x, y):
    """(H, W) at x, y in cells; zeros outside."""
    total = torch.zeros((), dtype=table.dtype)
    for j in (int(y // 1), int(y // 1) + 1):
        for i in (int(x // 1), int(x // 1) + 1):
            if 0 <= j < table.shape[0] and 0 <= i < table.shape[1]:
                total = total + (1 - abs(x - i)) * (1 - abs(y - j)) * table[j, i]
    return total


def naive(module, query_map, source_map):
    """Key by key for one pair with one group; sizes may differ."""
    r, p = module.stride, module.kernel // 2
    query = module.query(query_map.permute(1, 2, 0))
    H, W, C = query.shape
    Hs, Ws = source_map.shape[1:]
    h, w = (H - 1) // r + 1, (W - 1) // r + 1
    positions, keys, values = [], [], []
    for j in range(h):
        for i in range(w):
            hidden = module.offset_conv.bias.clone()
            for a in range(module.kernel):
                for b in range(module.kernel):
                    y, x = j * r + a - p, i * r + b - p
                    if 0 <= y < H and 0 <= x < W:
                        hidden = hidden + module.offset_conv.weight[:, 0, a, b] * query[y, x]
            offset = module.offset_out(nn.functional.gelu(module.offset_norm(hidden)))
            steps = torch.tensor([max(w - 1, 1), max(h - 1, 1)])
            at = (torch.tensor([i, j]).double() + 0.5) / steps * 2 - 1
            at = at + module.offset_range * offset.tanh() / steps
            x, y = ((at + 1) / 2 * torch.tensor([Ws - 1, Hs - 1])).tolist()
            cell = torch.stack([interpolated(plane, x, y) for plane in source_map])
            positions.append(at)
            keys.append(module.key(cell))
            values.append(module.value(cell))
    key, value, position = torch.stack(keys), torch.stack(values), torch.stack(positions)
    message = torch.zeros_like(query)
    D, (th, tw) = C // module.heads, module.bias_table.shape[1:]
    for y, x in [(y, x) for y in range(H) for x in range(W)]:
        place = torch.tensor([x / max(W - 1, 1), y / max(H - 1, 1)], dtype=torch.float64) * 2 - 1
        for m in range(module.heads):
            part = slice(m * D, (m + 1) * D)
            way = ((place - position) / 2 + 1) / 2 * torch.tensor([tw - 1, th - 1])
            bias = torch.stack([interpolated(module.bias_table[m], *at) for at in way.tolist()])
            share = (key[:, part] @ query[y, x, part] / D**0.5 + bias).softmax(0)
            message[y, x, part] = share @ value[:, part]
    return module.out(message).permute(2, 0, 1)


@pytest.mark.parametrize("sizes", [((5, 6), (4, 7)), ((2, 5), (3, 3)), ((7, 4), (7, 4))])
def test_equals_the_sum_written_out_for_maps_of_any_two_sizes(sizes, generator):
    module = make(stride=2, kernel=3, table=(4, 5))
    query, source = (torch.randn(1, 8, *s, generator=generator).double() for s in sizes)
    torch.testing.assert_close(module(query, source)[0], naive(module, query[0], source[0]))


def test_gradients_are_those_of_differences(generator):
    module = make(stride=2, kernel=3, groups=2, table=(3, 3))
    query, source = (
        torch.randn(1, 8, *s, generator=generator).double().requires_grad_()
        for s in ((3, 2), (2, 3))
    )
    assert torch.autograd.gradcheck(module, (query, source), fast_mode=True)


def test_without_bound_positions_are_clamped_to_the_map(generator):
    module = make(stride=2, offset_range=-1.0, position="none")
    nn.init.normal_(module.offset_out.weight, std=50.0)
    query = torch.randn(1, 6, 6, 8, generator=generator).double()
    position = module.keys(query, torch.tensor([[6, 6]])).position
    assert position.abs().max() == 1


def test_keys_of_a_wide_map_keep_their_place_in_half_precision(generator):
    module = make(stride=2, kernel=3).float()
    nn.init.zeros_(module.offset_out.weight)
    query = torch.randn(1, 2, 600, 8, generator=generator)
    extent = torch.tensor([[600, 2]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        position = module.keys(query.bfloat16(), extent).position
        message = module(*[query.permute(0, 3, 1, 2)] * 2)
    # without offsets the grid is even: 300 columns, 2 / 299 apart; bfloat16 would round to 1 / 256
    step = position[0, 1:, 0] - position[0, :-1, 0]
    torch.testing.assert_close(step, torch.full_like(step, 2 / 299), atol=1e-6, rtol=0)
    assert message.isfinite().all()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"heads \(2\) must divide into groups \(3\)"):
        build_attention("deformed", 8, 2, "self", groups=3)
    with pytest.raises(ValueError, match="kernel must be odd, stride 1 or more, got 4 and 4"):
        build_attention("deformed", 8, 2, "self", kernel=4)
