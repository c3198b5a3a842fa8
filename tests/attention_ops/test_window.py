import pytest
import torch

from attention_ops import build_attention

WINDOW = 4


def make(kind="self", **settings):
    torch.manual_seed(0)
    module = build_attention("window", 8, 2, kind, window=WINDOW, **settings).double()
    torch.nn.init.normal_(module.bias_table)
    return module


def maps(generator, *sizes):
    return [torch.randn(2, 8, *s, generator=generator, dtype=torch.float64) for s in sizes]


def naive(module, query, source, sees, origin_of, reach):
    """Every query cell over the source cells for which sees(cell, other) says so."""
    q, k, v = (
        layer(x.permute(0, 2, 3, 1))
        for layer, x in zip(
            (module.query, module.key, module.value), (query, source, source), strict=True
        )
    )
    B, H, W, C = q.shape
    D = C // module.heads
    message = torch.zeros_like(q)
    others = [(y, x) for y in range(k.shape[1]) for x in range(k.shape[2])]
    for y, x in [(y, x) for y in range(H) for x in range(W)]:
        shown = [o for o in others if sees((y, x), o)]
        oy, ox = origin_of(y, x)
        for b in range(B if shown else 0):
            for m in range(module.heads):
                part = slice(m * D, (m + 1) * D)
                logits = []
                for j, i in shown:
                    dy, dx = y - (j - oy), x - (i - ox)
                    row = (dy + reach) * (2 * reach + 1) + dx + reach
                    product = q[b, y, x, part] @ k[b, j, i, part] / D**0.5
                    logits.append(product + module.bias_table[row, m])
                share = torch.stack(logits).softmax(0)
                values = torch.stack([v[b, j, i, part] for j, i in shown])
                message[b, y, x, part] = share @ values
    return module.out(message).permute(0, 3, 1, 2)


@pytest.mark.parametrize("shifted", [False, True])
def test_self_attention_equals_the_sum_over_cells_of_the_same_window(shifted, generator):
    module = make(shifted=shifted)
    (feature,) = maps(generator, (6, 9))
    shift = WINDOW // 2 if shifted else 0
    window_of = lambda cell: ((cell[0] - shift) // WINDOW, (cell[1] - shift) // WINDOW)  # noqa: E731
    sees = lambda cell, other: window_of(cell) == window_of(other)  # noqa: E731
    want = naive(module, feature, feature, sees, lambda *_: (0, 0), WINDOW - 1)
    torch.testing.assert_close(module(feature, feature), want)


def cyclic(module, feature):
    """The shifted windows of the paper: roll the map, cut, mask by region, roll back (fig. 4)."""
    B, C, H, W = feature.shape
    w, s, M = WINDOW, WINDOW // 2, module.heads
    rolled = feature.permute(0, 2, 3, 1).roll((-s, -s), (1, 2))
    region = torch.zeros(H, W)
    for number, (rows, columns) in enumerate(
        (a, b)
        for a in (slice(0, H - w), slice(H - w, H - s), slice(H - s, H))
        for b in (slice(0, W - w), slice(W - w, W - s), slice(W - s, W))
    ):
        region[rows, columns] = number

    def cut(x):
        split = x.reshape(-1, H // w, w, W // w, w, x.shape[-1])
        return split.transpose(2, 3).reshape(-1, w * w, x.shape[-1])

    tokens, area = cut(rolled), cut(region[None, ..., None]).squeeze(2)
    apart = (area[:, :, None] != area[:, None]).repeat(B, 1, 1)[:, None]
    heads = [
        layer(tokens).unflatten(2, (M, -1)).transpose(1, 2)
        for layer in (module.query, module.key, module.value)
    ]
    offset = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij"), -1)
    offset = offset.reshape(-1, 2)
    d = offset[:, None] - offset[None] + w - 1
    bias = module.bias_table[d[..., 0] * (2 * w - 1) + d[..., 1]].permute(2, 0, 1)
    logits = heads[0] @ heads[1].mT / (C // M) ** 0.5 + bias - 100.0 * apart
    message = (logits.softmax(-1) @ heads[2]).transpose(1, 2).reshape(-1, w, w, C)
    message = message.reshape(B, H // w, W // w, w, w, C).transpose(2, 3).reshape(B, H, W, C)
    return module.out(message.roll((s, s), (1, 2))).permute(0, 3, 1, 2)


def test_shifted_windows_equal_the_cyclic_shift_of_the_paper(generator):
    module = make(shifted=True)
    (feature,) = maps(generator, (8, 12))
    torch.testing.assert_close(module(feature, feature), cyclic(module, feature))


def test_cross_attention_sees_the_aligned_window_and_its_margin(generator):
    module = make("cross", margin=1)
    query, source = maps(generator, (8, 4), (8, 8))
    # x: the middle 2 of 4 lies at 4 of 8, so the window of the source starts at column 2
    origin_of = lambda *_: (0, 2)  # noqa: E731
    sees = lambda cell, other: (  # noqa: E731
        cell[0] // 4 * 4 - 1 <= other[0] < cell[0] // 4 * 4 + 5 and 1 <= other[1] < 7
    )
    want = naive(module, query, source, sees, origin_of, WINDOW)
    torch.testing.assert_close(module(query, source), want)


def test_a_reference_moves_the_window_of_the_source(generator):
    module = make("cross")
    (query,) = maps(generator, (4, 4))
    (source,) = maps(generator, (4, 8))
    reference = torch.zeros(2, 4, 4, 2, dtype=torch.float64)
    reference[..., 0] = ((torch.arange(4.0) + 4.5) / 8).expand(4, 4)  # the right half
    reference[..., 1] = ((torch.arange(4.0) + 0.5) / 4)[:, None].expand(4, 4)
    got = module(query, source, reference=reference)
    torch.testing.assert_close(got, module(query, source[..., 4:]))
    with pytest.raises(ValueError, match="reference points are for kind 'cross'"):
        make("self")(query, query, reference=reference)
    with pytest.raises(ValueError, match=r"reference must be \(B, H, W, XY\) with B=2, H=4, W=4"):
        module(query, source, reference=reference[:, :2])


@pytest.mark.parametrize("name", ["window", "focal"])
def test_gradients_are_those_of_differences(name, generator):
    torch.manual_seed(0)
    settings = {"window": 2, "margin": 1} | ({"regions": 3} if name == "focal" else {})
    module = build_attention(name, 2, 1, "cross", **settings).double()
    query, source = (
        torch.randn(1, 2, *s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in ((3, 2), (2, 4))
    )
    mask = torch.rand(1, 2, 4, generator=generator) > 0.3
    call = lambda q, s, *_: module(q, s, None, mask)  # noqa: E731
    assert torch.autograd.gradcheck(call, (query, source, *module.parameters()), fast_mode=True)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="window must be 1 or more and margin 0 or more, got 0, 0"):
        build_attention("window", 8, 2, "self", window=0)
