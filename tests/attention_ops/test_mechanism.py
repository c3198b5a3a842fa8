import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from attention_ops import MECHANISMS, build_attention

CASES = {
    "softmax": {},
    "linear": {},
    "quadtree-a": {"topk": (5, 3, 3), "variant": "A"},
    "quadtree-b": {"topk": (5, 3, 3), "variant": "B"},
    "quadtree-lepe": {"topk": (4, 4), "position": "lepe", "value_pyramid": "conv"},
    "quadtree_classification": {"topk": (4, 4)},
    "spatial_reduction-conv": {"ratio": 3},
    "spatial_reduction-pool": {"reduction": "pool", "pool_size": 2},
    "window": {"window": 3},
    "window-shifted": {"window": 4, "shifted": True, "margin": 1},
    "focal": {"window": 3, "margin": 1, "regions": 3},
    "nearest": {"topk": 4},
    "deformable": {"points": 3},
    "multiscale_deformable": {"points": 2},
    "deformed-table": {"stride": 2, "kernel": 3, "groups": 3, "table": (5, 4)},
    "deformed-clamped": {"stride": 3, "offset_range": -1.0, "position": "none"},
    "conditional": {},
    "conditional-first": {"first": True},
    "detr": {},
}


def make(case, kind="self", dtype=torch.float64):
    torch.manual_seed(0)
    name = case.partition("-")[0]
    module = build_attention(name, 12, 3, kind, qkv_bias=True, **CASES[case]).to(dtype).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def padded(feature, height, width, garbage):
    """`feature` (1, C, h, w) at the top left of `garbage`, and the mask of where it is."""
    h, w = feature.shape[2:]
    larger = torch.full((1, feature.shape[1], height, width), garbage, dtype=feature.dtype)
    larger[:, :, :h, :w] = feature
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, :h, :w] = True
    return larger, mask


@pytest.mark.parametrize("case", CASES)
@hypothesis.settings(max_examples=12)
@hypothesis.given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    source_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    grow=st.tuples(*[st.integers(0, 6)] * 4),
    garbage=st.sampled_from([float("nan"), float("inf"), -1e30, 3.0]),
    seed=st.integers(0, 1000),
)
def test_garbage_under_a_mask_on_either_image_changes_nothing_inside(
    case, size, source_size, grow, garbage, seed
):
    kind = "self" if case == "quadtree-lepe" else "cross"
    module = make(case, kind)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 12, *size, generator=generator, dtype=torch.float64)
    source = torch.randn(1, 12, *source_size, generator=generator, dtype=torch.float64)
    if kind == "self":
        source, source_size, grow = query, size, (*grow[:2], *grow[:2])
    want = module(query, source)
    more, mask = padded(query, size[0] + grow[0], size[1] + grow[1], garbage)
    more_source, source_mask = padded(
        source, source_size[0] + grow[2], source_size[1] + grow[3], garbage
    )
    got = module(more, more_source, mask, source_mask)
    torch.testing.assert_close(got[:, :, : size[0], : size[1]], want)
    outside = got.masked_fill(mask[:, None], 0)
    assert (outside == 0).all()


@pytest.mark.parametrize("case", CASES)
def test_garbage_under_a_mask_reaches_no_gradient(case, generator):
    module = make(case)
    clean = torch.randn(2, 12, 6, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 6, 7, generator=generator) > 0.4
    mask[1] = False
    grads = []
    for garbage in (0.0, float("nan")):
        feature = clean.masked_fill(~mask[:, None], garbage).requires_grad_()
        module.zero_grad()
        module(feature, feature, mask, mask).sin().sum().backward()
        grads.append([feature.grad, *(p.grad for p in module.parameters())])
    assert (grads[1][0].masked_fill(mask[:, None], 0) == 0).all()
    for zero, nan in zip(*grads, strict=True):
        torch.testing.assert_close(nan, zero)


@pytest.mark.parametrize("case", CASES)
def test_memory_format_does_not_matter_and_the_message_is_channels_last(case, generator):
    module = make(case, dtype=torch.float32)
    feature = torch.randn(2, 12, 8, 4, generator=generator)
    want = module(feature, feature)
    last = feature.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(last, last), want)
    assert want.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("name", MECHANISMS)
def test_source_may_have_another_size_than_the_query(name, generator):
    module = build_attention(name, 12, 3, "cross")
    query, source = (torch.randn(1, 12, *s, generator=generator) for s in ((5, 7), (4, 2)))
    assert module(query, source).shape == query.shape


@pytest.mark.parametrize("name", MECHANISMS)
def test_state_dict_names_projections_alike_in_every_mechanism(name):
    settings = {"qkv_bias": False, "out_bias": False}
    module = build_attention(name, 12, 3, "self", **settings)
    keys = set(module.state_dict())
    assert {f"{projection}.weight" for projection in module.projections} <= keys
    assert {"value.weight", "out.weight"} <= keys
    assert not keys & {f"{layer}.bias" for layer in ("query", "key", "value", "out")}


def test_every_mechanism_of_maps_is_held_to_the_contract():
    assert {case.partition("-")[0] for case in CASES} == set(MECHANISMS)


def test_wrong_maps_and_settings_are_refused_in_words():
    module = build_attention("linear", 12, 3, "self")
    feature = torch.zeros(1, 12, 4, 4)
    with pytest.raises(ValueError, match=r"query_map must be \(B, C, H, W\) with C=12, got"):
        module(feature[:, :6], feature)
    with pytest.raises(ValueError, match=r"source_map must be .* with B=1, C=12, got \(2,"):
        module(feature, feature.expand(2, 12, 4, 4))
    with pytest.raises(TypeError, match="query_mask must be bool"):
        module(feature, feature, torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match=r"channels \(12\) must divide into heads \(5\)"):
        build_attention("linear", 12, 5, "self")
    with pytest.raises(ValueError, match=r"channels \(12\) must divide into heads \(0\)"):
        build_attention("linear", 12, 0, "self")
    with pytest.raises(ValueError, match="kind must be one of self, cross, got 'both'"):
        build_attention("linear", 12, 3, "both")
    with pytest.raises(
        ValueError,
        match=r"name must be one of softmax, linear, quadtree, .*row_softmax, .* got 'full'",
    ):
        build_attention("full", 12, 3, "self")
