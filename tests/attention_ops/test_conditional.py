import pytest
import torch
from torch import nn

from attention_ops import build_attention
from attention_ops.reference_points import own_points, point_encoding
from tests.attention_ops.golden import assert_close_to, load_golden, load_weights

LAYER_NAMES = {
    "ca_qcontent_proj": "query",
    "ca_kcontent_proj": "key",
    "ca_v_proj": "value",
    "ca_qpos_sine_proj": "query_place",
    "ca_kpos_proj": "key_place",
    "ca_qpos_proj": "first_place",
    "cross_attn.out_proj": "out",
}


def cross_attention(golden, layer):
    """Our module with the weights of one official layer."""
    module = build_attention("conditional", 256, 8, "cross", first=layer == 0)
    module.transform = None  # the official one belongs to the decoder
    names = {f"layers.{layer}.{theirs}": ours for theirs, ours in LAYER_NAMES.items()}
    load_weights(module, golden.named("state_dict", names))
    return module


class Decoder:
    """The rest of the official decoder: self-attention, feed-forward, norms, reference points."""

    def __init__(self, golden):
        self.weights = golden.named("state_dict", {"": ""})
        self.layers = [cross_attention(golden, i) for i in range(2)]

    def linear(self, name, x):
        return nn.functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def mlp(self, name, x):
        return self.linear(f"{name}.layers.1", self.linear(f"{name}.layers.0", x).relu())

    def norm(self, name, x):
        return nn.functional.layer_norm(
            x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        )

    def self_attention(self, i, x, place):
        at = f"layers.{i}"
        q = self.linear(f"{at}.sa_qcontent_proj", x) + self.linear(f"{at}.sa_qpos_proj", place)
        k = self.linear(f"{at}.sa_kcontent_proj", x) + self.linear(f"{at}.sa_kpos_proj", place)
        v = self.linear(f"{at}.sa_v_proj", x)
        q, k, v = (t.unflatten(2, (8, -1)).transpose(1, 2) for t in (q, k, v))
        share = (q @ k.mT / q.shape[3] ** 0.5).softmax(3)
        return self.linear(f"{at}.self_attn.out_proj", (share @ v).transpose(1, 2).flatten(2))

    def __call__(self, x, memory, place, memory_place, mask):
        """All batch first: (B, Q, C), (B, S, C); returns the normed states of both layers."""
        points = self.mlp("ref_point_head", place).sigmoid()
        encoded = point_encoding(points, 256)
        states = []
        for i, layer in enumerate(self.layers):
            scaled = encoded if i == 0 else self.mlp("query_scale", x) * encoded
            x = self.norm(f"layers.{i}.norm1", x + self.self_attention(i, x, place))
            message = layer.gather_tokens(
                x, memory, scaled, memory_place, mask, place if i == 0 else None
            )
            x = self.norm(f"layers.{i}.norm2", x + layer.out(message))
            hidden = self.linear(f"layers.{i}.linear1", x).relu()
            x = self.norm(f"layers.{i}.norm3", x + self.linear(f"layers.{i}.linear2", hidden))
            states.append(self.norm("norm", x))
        return torch.stack(states), points


def test_two_layers_agree_with_the_official_decoder_and_its_gradients():
    golden = load_golden("ConditionalDETR_decoder")
    batch_first = lambda name: golden[f"inputs/{name}"].transpose(0, 1).clone()  # noqa: E731
    memory, place = (
        batch_first("memory").requires_grad_(),
        batch_first("query_pos").requires_grad_(),
    )
    valid = ~golden["inputs/memory_key_padding_mask"]
    decoder = Decoder(golden)
    states, points = decoder(batch_first("tgt"), memory, place, batch_first("pos"), valid)
    assert_close_to(points, golden["reference_points"], "reference points")
    assert_close_to(states, golden["out"], "states")
    (states * golden["w"]).sum().backward()
    assert_close_to(memory.grad.transpose(0, 1), golden["grad/memory"], "memory")
    assert_close_to(place.grad.transpose(0, 1), golden["grad/query_pos"], "query_pos")


@pytest.mark.parametrize("first", [False, True])
def test_logits_are_the_sum_of_content_and_place_per_head(first, generator):
    torch.manual_seed(0)
    module = build_attention("conditional", 8, 2, "cross", first=first).double()
    query, source = (
        torch.randn(1, 8, *s, generator=generator, dtype=torch.float64) for s in ((3, 2), (2, 4))
    )
    mask = torch.tensor([[[True, True, False, True], [True, False, True, True]]])
    reference = torch.rand(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    x, y = query.flatten(2).mT[0], source.flatten(2).mT[0]
    place = point_encoding(reference.flatten(1, 2), 8)[0]
    own = point_encoding(own_points(source.permute(0, 2, 3, 1), mask).flatten(1, 2), 8)[0]
    c_q, c_k, p_k = module.query(x), module.key(y), module.key_place(own)
    if first:
        p_q = module.query_place(place)
        c_q, c_k = c_q + module.first_place(place), c_k + p_k
    else:
        p_q = module.query_place(module.transform(x) * place)
    v, parts = module.value(y), []
    for m in range(2):
        part = slice(4 * m, 4 * m + 4)
        logits = (c_q[:, part] @ c_k[:, part].T + p_q[:, part] @ p_k[:, part].T) / 8**0.5
        share = logits.masked_fill(~mask.flatten(), -torch.inf).softmax(1)
        parts.append(share @ v[:, part])
    want = module.out(torch.cat(parts, 1)).T.view(1, 8, 3, 2)
    torch.testing.assert_close(module(query, source, None, mask, reference), want)


def test_plain_decoder_attention_equals_pytorchs_multihead_attention(generator):
    torch.manual_seed(0)
    module = build_attention("detr", 8, 2, "cross", qkv_bias=True).double()
    query, source = (
        torch.randn(2, 8, *s, generator=generator, dtype=torch.float64) for s in ((3, 2), (2, 4))
    )
    mask = torch.rand(2, 2, 4, generator=generator) > 0.3
    mask[:, 1, 3] = True
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        layers = module.query, module.key, module.value
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        theirs.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        theirs.out_proj.load_state_dict(module.out.state_dict())
    x, y = query.flatten(2).mT, source.flatten(2).mT
    p = point_encoding(own_points(query.permute(0, 2, 3, 1), None), 8).flatten(1, 2)
    s = point_encoding(own_points(source.permute(0, 2, 3, 1), mask), 8).flatten(1, 2)
    want, _ = theirs(x + p, y + s, y, key_padding_mask=~mask.flatten(1), need_weights=False)
    torch.testing.assert_close(module(query, source, None, mask), want.mT.unflatten(2, (3, 2)))


@pytest.mark.parametrize("name", ["conditional", "detr"])
def test_source_tokens_under_a_mask_are_not_read(name, generator):
    module = build_attention(name, 8, 2, "cross")
    query, source, place = (torch.randn(2, n, 8, generator=generator) for n in (3, 5, 5))
    mask = torch.tensor([[True, False, True, True, False], [False] * 5])
    want = module.gather_tokens(query, source, query, place, mask)
    garbage = source.masked_fill(~mask[..., None], torch.nan)
    assert torch.equal(module.gather_tokens(query, garbage, query, place, mask), want)
    assert (want[1] == 0).all()


@pytest.mark.parametrize("name", ["conditional", "detr"])
def test_gradients_are_those_of_differences(name, generator):
    torch.manual_seed(0)
    module = build_attention(name, 4, 1, "cross").double()
    query, source, reference = (
        torch.randn(1, *s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in ((4, 1, 2), (4, 2, 3), (1, 2, 2))
    )
    call = lambda q, s, r: module(q, s, None, None, r)  # noqa: E731
    assert torch.autograd.gradcheck(call, (query, source, reference))


def test_an_embedding_belongs_to_the_first_layer_only():
    tokens = torch.zeros(1, 2, 8)
    with pytest.raises(ValueError, match="embedding must be given to the first layer"):
        build_attention("conditional", 8, 2, "cross").gather_tokens(*[tokens] * 4, None, tokens)
    with pytest.raises(ValueError, match="embedding must be given to the first layer"):
        build_attention("conditional", 8, 2, "cross", first=True).gather_tokens(*[tokens] * 4)
