import pytest
import torch

from attention_ops import build_attention

WINDOW, MARGIN, REGIONS = 3, 1, 3


def make(kind):
    torch.manual_seed(0)
    settings = {"window": WINDOW, "margin": MARGIN, "regions": REGIONS}
    module = build_attention("focal", 8, 2, kind, **settings).double()
    for parameter in (module.bias_table, module.region_bias, module.pool.weight, module.pool.bias):
        torch.nn.init.normal_(parameter)
    return module


def naive_pool(module, cells, shown):
    """Weighted sums of the valid cells of every patch of the size of a window, by its number."""
    w, pooled = WINDOW, {}
    H, W = cells.shape[:2]
    for py, px in [(py, px) for py in range(-(-H // w)) for px in range(-(-W // w))]:
        inside = [(a, b) for a in range(w) for b in range(w) if shown(py * w + a, px * w + b)]
        if inside:
            pooled[py, px] = module.pool.bias + sum(
                module.pool.weight[0, a * w + b] * cells[py * w + a, px * w + b] for a, b in inside
            )
    return pooled


def naive(module, query, source, mask, origin_of):
    """One query at a time: cells of the window and its margin, pooled cells around it."""
    w, reach = WINDOW, WINDOW + MARGIN - 1
    q = module.query(query.permute(1, 2, 0))
    cells = source.permute(1, 2, 0)
    H, W = cells.shape[:2]
    D = q.shape[2] // module.heads
    shown = lambda j, i: 0 <= j < H and 0 <= i < W and bool(mask[j, i])  # noqa: E731
    pooled = naive_pool(module, cells, shown)
    message = torch.zeros_like(q)
    for y, x in [(y, x) for y in range(q.shape[0]) for x in range(q.shape[1])]:
        oy, ox = origin_of(y // w, x // w)
        tokens, biases = [], []
        for a in range(-MARGIN, w + MARGIN):
            for b in range(-MARGIN, w + MARGIN):
                if shown(oy + a, ox + b):
                    tokens.append(cells[oy + a, ox + b])
                    row = (y % w - a + reach) * (2 * reach + 1) + x % w - b + reach
                    biases.append(module.bias_table[row])
        cy, cx = (oy + w // 2) // w, (ox + w // 2) // w  # the pooled cell of the middle
        for a in range(REGIONS):
            for b in range(REGIONS):
                at = (cy + a - REGIONS // 2, cx + b - REGIONS // 2)
                if at in pooled:
                    tokens.append(pooled[at])
                    biases.append(module.region_bias[:, a * REGIONS + b])
        key, value = module.key(torch.stack(tokens)), module.value(torch.stack(tokens))
        for m in range(module.heads):
            part = slice(m * D, (m + 1) * D)
            logits = key[:, part] @ q[y, x, part] / D**0.5 + torch.stack(biases)[:, m]
            message[y, x, part] = logits.softmax(0) @ value[:, part]
    return module.out(message).permute(2, 0, 1)


def test_self_attention_equals_windows_and_surroundings_written_out(generator):
    module = make("self")
    feature = torch.randn(1, 8, 7, 10, generator=generator, dtype=torch.float64)
    mask = torch.rand(1, 7, 10, generator=generator) > 0.2
    mask[:, 6, 9] = True  # the valid extent is the whole map
    clean = feature.masked_fill(~mask[:, None], 0)
    want = naive(module, clean[0], clean[0], mask[0], lambda j, i: (j * WINDOW, i * WINDOW))
    got = module(feature, feature, mask, mask)
    torch.testing.assert_close(got[0], want.masked_fill(~mask, 0))


def test_cross_attention_looks_around_the_aligned_window(generator):
    module = make("cross")
    query = torch.randn(1, 8, 6, 3, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 8, 6, 9, generator=generator, dtype=torch.float64)
    mask = torch.ones(1, 6, 9, dtype=torch.bool)
    # the middle 1.5 of 3 columns is at 4.5 of 9: the window starts at column 3
    want = naive(module, query[0], source[0], mask[0], lambda j, _: (j * WINDOW, 3))
    torch.testing.assert_close(module(query, source)[0], want)


def test_pooling_starts_as_the_mean():
    module = build_attention("focal", 8, 2, "self")
    assert module.pool.weight.unique().tolist() == pytest.approx([1 / 49])
    assert module.pool.bias.tolist() == [0.0]


def test_an_even_number_of_regions_is_refused():
    with pytest.raises(ValueError, match="regions must be odd and positive, got 4"):
        build_attention("focal", 8, 2, "self", regions=4)
