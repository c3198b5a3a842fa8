import math

import pytest
import torch
from torch import nn

from attention_ops import build_attention
from attention_ops.reference_points import own_points
from tests.attention_ops.golden import (
    assert_close_to,
    assert_same_gradients,
    load_golden,
    load_weights,
)

NAMES = {
    "sampling_offsets": "offset",
    "attention_weights": "weight",
    "value_proj": "value",
    "output_proj": "out",
}


def make(name="multiscale_deformable", kind="cross", **settings):
    torch.manual_seed(0)
    module = build_attention(name, 8, 2, kind, **settings).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def test_agrees_with_the_official_module_and_its_gradients():
    golden = load_golden("MSDeformAttn_ref2")
    module = build_attention(
        "multiscale_deformable", 64, 4, "cross", levels=3, points=4, qkv_bias=True
    )
    load_weights(module, golden.named("state_dict", NAMES))
    query, flat = (
        golden[f"inputs/{x}"].clone().requires_grad_() for x in ("query", "input_flatten")
    )
    shapes = golden["inputs/spatial_shapes"].tolist()
    parts = flat.split([h * w for h, w in shapes], 1)
    sources = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
    message = module.gather_tokens(query, golden["inputs/reference_points"], sources)
    assert_close_to(message, golden["out"])
    (message * golden["w"]).sum().backward()
    assert_close_to(query.grad, golden["grad/query"], "query")
    assert_close_to(flat.grad, golden["grad/input_flatten"], "input_flatten")
    assert_same_gradients(module, golden.named("grad", NAMES))


def bilinear(cells, mask, x, y):
    """(H, W, D) at x, y in cells, the first centre at 0; zeros outside and under the mask."""
    total = torch.zeros(cells.shape[2], dtype=cells.dtype)
    for j in (math.floor(y), math.floor(y) + 1):
        for i in (math.floor(x), math.floor(x) + 1):
            if 0 <= j < cells.shape[0] and 0 <= i < cells.shape[1] and mask[j, i]:
                total = total + (1 - abs(x - i)) * (1 - abs(y - j)) * cells[j, i]
    return total


def naive_message(module, query, points, maps, masks):
    """One query (C,) with points (L, 2) in cells of each level, over maps (H, W, C)."""
    M, L, K = module.heads, module.levels, module.points
    offset = module.offset(query).view(M, L, K, 2)
    share = module.weight(query).view(M, L * K).softmax(1).view(M, L, K)
    parts = []
    for m in range(M):
        total = 0
        for i, (cells, mask) in enumerate(zip(maps, masks, strict=True)):
            values = module.value(cells).unflatten(2, (M, -1))[:, :, m]
            for k in range(K):
                x, y = (points[i] - 0.5 + offset[m, i, k]).tolist()
                total = total + share[m, i, k] * bilinear(values, mask, x, y)
        parts.append(total)
    return torch.cat(parts)


@pytest.mark.parametrize("masked", [False, True])
def test_a_map_is_sampled_around_each_reference_point_level_by_level(masked, generator):
    module = make(levels=2, points=2, qkv_bias=True)
    query = torch.randn(1, 8, 3, 2, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 8, 5, 6, generator=generator, dtype=torch.float64)
    mask = torch.ones(1, 5, 6, dtype=torch.bool)
    if masked:
        mask = torch.rand(1, 5, 6, generator=generator) > 0.3
        mask[:, :, 5] = False  # the valid extent is 5 x 5
        mask[:, 4, 4] = True
    extent = torch.tensor([5.0, 5.0]) if masked else torch.tensor([6.0, 5.0])
    reference = torch.rand(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    cells = source[0].permute(1, 2, 0)
    half = torch.zeros(3, 3, 8, dtype=torch.float64)
    half_mask = torch.zeros(3, 3, dtype=torch.bool)
    for j in range(3):
        for i in range(3):
            inside = mask[0, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2]
            if inside.any():
                half[j, i] = cells[2 * j : 2 * j + 2, 2 * i : 2 * i + 2][inside].mean(0)
                half_mask[j, i] = True
    want = torch.zeros(1, 3, 2, 8, dtype=torch.float64)
    for y, x in [(y, x) for y in range(3) for x in range(2)]:
        place = reference[0, y, x] * extent
        points = torch.stack((place, place / 2))
        message = naive_message(
            module, query[0, :, y, x], points, (cells, half), (mask[0], half_mask)
        )
        want[0, y, x] = module.out(message)
    got = module(query, source, None, mask if masked else None, reference)
    torch.testing.assert_close(got.permute(0, 2, 3, 1), want)


def test_a_box_measures_offsets_in_its_halves(generator):
    module = make("deformable", points=3)
    query = torch.randn(1, 2, 8, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 4, 6, 8, generator=generator, dtype=torch.float64)
    box = torch.rand(1, 2, 1, 4, generator=generator, dtype=torch.float64)
    got = module.gather_tokens(query, box, [source])
    whole = torch.ones(4, 6, dtype=torch.bool)
    for q in range(2):
        x, y, w, h = box[0, q, 0]
        # offsets / points * width / 2, in fractions of the map: rescale to cells for the naive one
        scaled = module.offset(query[0, q]).view(2, 1, 3, 2) * torch.stack((w * 6, h * 4)) / 6
        share = module.weight(query[0, q]).view(2, 3).softmax(1)
        values = module.value(source[0]).unflatten(2, (2, -1))
        parts = [
            sum(
                share[m, k]
                * bilinear(
                    values[:, :, m],
                    whole,
                    *(torch.stack((x * 6, y * 4)) - 0.5 + scaled[m, 0, k]).tolist(),
                )
                for k in range(3)
            )
            for m in range(2)
        ]
        torch.testing.assert_close(got[0, q], module.out(torch.cat(parts)))


def test_looks_start_in_rings_with_equal_weights():
    module = build_attention("deformable", 8, 4, "self", points=2)
    feature = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    offset = module.offset(feature).view(4, 1, 2, 2)
    # heads look right, down, left and up, point k at k + 1 cells
    want = [[[1, 0], [2, 0]], [[0, 1], [0, 2]], [[-1, 0], [-2, 0]], [[0, -1], [0, -2]]]
    torch.testing.assert_close(offset[:, 0], torch.tensor(want).float(), atol=1e-6, rtol=0)
    assert module.weight(feature).unique().tolist() == [0.0]
    diagonal = build_attention("deformable", 8, 8, "self", points=1).offset.bias.view(8, 2)[1]
    assert diagonal.tolist() == pytest.approx([1.0, 1.0])  # by the larger axis, not the length


def test_a_reference_moves_the_look_and_the_default_is_the_cells_own_place(generator):
    module = make("deformable")
    query = torch.randn(1, 8, 4, 4, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 8, 4, 8, generator=generator, dtype=torch.float64)
    own = own_points(query.permute(0, 2, 3, 1), None)
    torch.testing.assert_close(module(query, source), module(query, source, reference=own))
    # zeros outside: the left half by itself is like looking at it in a map whose rest is zero
    left = torch.cat((source[..., :4], torch.zeros_like(source[..., 4:])), 3)
    squeezed = own * torch.tensor([0.5, 1.0])
    torch.testing.assert_close(
        module(query, left, reference=squeezed), module(query, source[..., :4], reference=own)
    )


def test_gradients_are_those_of_differences(generator):
    module = make(levels=2, points=1)
    query, source = (
        torch.randn(1, 8, *s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in ((1, 2), (3, 2))
    )
    reference = torch.rand(1, 1, 2, 2, generator=generator, dtype=torch.float64).requires_grad_()
    call = lambda q, s, r: module(q, s, None, None, r)  # noqa: E731
    assert torch.autograd.gradcheck(call, (query, source, reference), fast_mode=True)


def test_wrong_settings_and_pyramids_are_refused():
    with pytest.raises(ValueError, match="levels and points must be 1 or more, got 0 and 4"):
        build_attention("deformable", 8, 2, "self", levels=0)
    module = make()
    with pytest.raises(ValueError, match="sources must be 3 maps, got 1"):
        module.gather_tokens(
            torch.zeros(1, 2, 8), torch.zeros(1, 2, 3, 2), [torch.zeros(1, 2, 2, 8)]
        )
