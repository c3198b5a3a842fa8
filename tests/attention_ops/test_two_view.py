import pytest
import torch

from attention_ops import (
    LoftrLayer,
    QuadtreeBlock,
    TwoViewTransformer,
    build_attention,
)

KINDS = ("self", "cross", "cross")


def make(block, simultaneous):
    torch.manual_seed(0)
    name = "linear" if block is LoftrLayer else "quadtree"
    settings = {} if name == "linear" else {"topk": (3, 2)}
    layers = [block(build_attention(name, 8, 2, kind, **settings), 8) for kind in KINDS]
    return TwoViewTransformer(layers, KINDS, simultaneous).double().eval()


def maps(generator):
    return (
        torch.randn(2, 8, *size, generator=generator, dtype=torch.float64)
        for size in ((6, 5), (3, 7))
    )


@pytest.mark.parametrize("block", [LoftrLayer, QuadtreeBlock])
def test_swapping_the_images_swaps_a_simultaneous_update(block, generator):
    transformer = make(block, simultaneous=True)
    map0, map1 = maps(generator)
    torch.testing.assert_close(transformer(map1, map0), transformer(map0, map1)[::-1])


def test_sequential_update_shows_image_1_the_updated_image_0(generator):
    transformer = make(LoftrLayer, simultaneous=False)
    map0, map1 = maps(generator)
    first, second, third = transformer.layers
    map0_next, map1_next = first(map0, map0), first(map1, map1)
    for layer in (second, third):
        map0_next = layer(map0_next, map1_next)
        map1_next = layer(map1_next, map0_next)
    torch.testing.assert_close(transformer(map0, map1), (map0_next, map1_next))
    assert not torch.allclose(make(LoftrLayer, simultaneous=True)(map0, map1)[1], map1_next)


@pytest.mark.parametrize("block", [LoftrLayer, QuadtreeBlock])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_padding_either_image_changes_nothing_inside(block, simultaneous, generator):
    transformer = make(block, simultaneous)
    map0, map1 = maps(generator)
    want = transformer(map0, map1)
    padded, masks = [], []
    for feature in (map0, map1):
        padded.append(torch.nn.functional.pad(feature, (0, 3, 0, 2), value=torch.nan))
        masks.append(padded[-1][:, 0].isfinite())
    got = transformer(*padded, *masks)
    for after, before in zip(got, want, strict=True):
        torch.testing.assert_close(after[:, :, : before.shape[2], : before.shape[3]], before)
        assert after.isfinite().all()


def test_loftr_layer_is_its_formula(generator):
    layer = make(LoftrLayer, simultaneous=False).layers[0]
    x, source = maps(generator)
    cells = x.permute(0, 2, 3, 1)
    message = layer.norm1(layer.attention(x, source).permute(0, 2, 3, 1))
    w1, w2 = layer.mlp[0].weight, layer.mlp[2].weight
    mixed = (torch.cat([cells, message], -1) @ w1.mT).relu() @ w2.mT
    want = (cells + layer.norm2(mixed)).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x, source), want)


def test_quadtree_block_is_its_formula(generator):
    block = make(QuadtreeBlock, simultaneous=True).layers[0]
    x, _ = maps(generator)

    def norm(layer, feature):
        return layer(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def dense(layer, feature):
        return torch.nn.functional.conv2d(feature, layer.weight[:, :, None, None], layer.bias)

    y = x + block.attention(norm(block.norm1, x), norm(block.norm1, x))
    hidden = dense(block.fc1, norm(block.norm2, y)).relu()
    want = y + dense(block.fc2, torch.nn.functional.gelu(block.conv(hidden)))
    torch.testing.assert_close(block(x, x), want)
    assert block.fc1.out_features == 4 * 8


def test_kinds_must_match_the_layers():
    with pytest.raises(ValueError, match="kinds must have one entry per layer"):
        TwoViewTransformer([torch.nn.Identity()], ())
    with pytest.raises(ValueError, match="kind must be one of self, cross"):
        TwoViewTransformer([torch.nn.Identity()], ("both",))
