import pytest
import torch
from torch import nn

from attention_ops.relative_rows import RelativeRowAttention, distance_sines
from stereo.sttr import SttrNetwork, normalised
from stereo.sttr_rows import CrossLayer, RowTransformer, SelfLayer
from stereo.sttr_trunk import Tokenizer


def random_network(light=True, **settings):
    torch.manual_seed(0)
    return SttrNetwork(light=light, **{"layers": 2, **settings}).eval()


def random_pair(generator, H=128, W=128, batch=1):
    """Noise with some structure, the right view moved by 8 px."""
    coarse = torch.rand(batch, 3, H // 8 + 2, W // 8 + 4, generator=generator)
    texture = nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
    texture = texture + 0.1 * torch.rand(texture.shape, generator=generator)
    return texture[..., :H, :W] / 1.1, texture[..., :H, 8 : W + 8] / 1.1


def assert_same_output(got, want, rtol=1e-4, atol=1e-4):
    for name in ("disparity", "occlusion", "confidence"):
        torch.testing.assert_close(getattr(got, name), getattr(want, name), rtol=rtol, atol=atol)


# --- the whole network


@pytest.mark.parametrize(
    ("light", "H", "W"), [(True, 128, 129), (True, 131, 150), (False, 129, 130)]
)
@torch.no_grad()
def test_any_size_from_128_on_gives_maps_of_that_size(generator, light, H, W):
    output = random_network(light)(*random_pair(generator, H, W))
    for name in ("disparity", "occlusion", "confidence"):
        value = getattr(output, name)
        assert value.shape == (1, H, W)
        assert value.isfinite().all()
    for name in ("occlusion", "confidence"):
        assert getattr(output, name).min() >= 0
        assert getattr(output, name).max() <= 1


@torch.no_grad()
def test_a_batch_gives_exactly_what_its_pairs_give(generator):
    network = random_network()
    left, right = random_pair(generator, batch=2)
    left[1] *= 0.3
    batch = network(left, right)
    for i in range(2):
        single = network(left[i : i + 1], right[i : i + 1])
        assert torch.equal(batch.disparity[i], single.disparity[0])
        assert torch.equal(batch.occlusion[i], single.occlusion[0])
        assert torch.equal(batch.confidence[i], single.confidence[0])


@torch.no_grad()
def test_training_and_evaluation_mode_are_one(generator):
    network, pair = random_network(), random_pair(generator)
    assert_same_output(network.train()(*pair), network.eval()(*pair), rtol=0, atol=0)


@torch.no_grad()
def test_little_memory_gives_what_plenty_gives(generator):
    pair = random_pair(generator, 130, 141)
    assert_same_output(random_network(max_memory=1)(*pair), random_network()(*pair))


@pytest.mark.parametrize("light", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_weight_gets_a_finite_gradient(generator, light):
    network = random_network(light, layers=1, stride=8)
    output = network(*random_pair(generator))
    (
        output.disparity.square().mean() + output.occlusion.mean() + output.confidence.mean()
    ).backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert not without
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@torch.no_grad()
def test_images_of_one_colour_give_finite_numbers():
    flat = torch.full((1, 3, 128, 128), 0.5)
    output = random_network()(flat, flat)
    assert output.disparity.isfinite().all()
    assert output.occlusion.isfinite().all()


@torch.no_grad()
def test_a_left_column_has_no_logits_further_right(generator):
    network = random_network()
    logits = network.transformer.logits(*network.match(torch.cat(random_pair(generator))))
    further = torch.arange(32) > torch.arange(32)[:, None]
    assert logits.shape == (32, 32, 32)
    assert (logits[:, further] == -torch.inf).all()
    assert logits[:, ~further].isfinite().all()


@torch.no_grad()
def test_disparity_before_the_context_is_in_pixels(generator, monkeypatch):
    # Each left token goes to the right token two further left: 2 * 132 / 44 px with stride 3.
    network = random_network(light=False)
    shares = torch.full((44, 44, 44), -torch.inf)
    shares.diagonal(-2, 1, 2)[:] = 50.0
    monkeypatch.setattr(network, "tokens", lambda images: images.new_zeros(2, 44, 44, 128))
    monkeypatch.setattr(network.transformer, "logits", lambda query, *_: shares[: len(query)])
    monkeypatch.setattr(network.context, "forward", lambda disp, occlusion, _: (disp, occlusion))
    output = network(*random_pair(generator, 132, 132))
    torch.testing.assert_close(output.disparity[..., 6:], torch.full((1, 132, 126), 6.0))
    # ten iterations leave a little in the dustbin
    assert (output.confidence[..., 6:] > 0.9).all()
    torch.testing.assert_close(output.occlusion[..., 6:], 1 - output.confidence[..., 6:])
    # the first two have no partner: all in the dustbin, which STTR's quirk calls not occluded
    assert (output.confidence[..., :6] < 1e-6).all()
    assert (output.occlusion[..., :6] == 0).all()


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ((1, 3, 128, 128), (1, 3, 128, 136), "of one size"),
        ((1, 1, 128, 128), (1, 1, 128, 128), r"must be \(B, 3, H, W\)"),
        ((0, 3, 128, 128), (0, 3, 128, 128), "B 1 or more"),
        ((1, 3, 127, 200), (1, 3, 127, 200), "sides of 128 px or more, got 127 x 200; pad them"),
    ],
)
def test_images_that_do_not_fit_are_refused(left, right, words):
    with pytest.raises(ValueError, match=words):
        random_network()(torch.zeros(left), torch.zeros(right))


@pytest.mark.parametrize("settings", [{"stride": 0}, {"layers": 0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="must be 1 or more"):
        SttrNetwork(**settings)


def test_normalised_takes_out_the_mean_of_imagenet():
    image = torch.tensor([0.485, 0.456, 0.406 + 0.225])[None, :, None, None]
    torch.testing.assert_close(normalised(image).flatten(), torch.tensor([0.0, 0.0, 1.0]))


# --- tokens


def small_tokenizer(generator, H, W=35):
    """A tokenizer of few channels, and the images and maps of a pair for it."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(growth=1, channels=8, full=True)
    for norm in (module for module in tokenizer.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -1, 1)
    sizes = [(64, 4), (128, 8), (128, 16)]
    maps = [
        torch.randn(2, C, -(-H // step), -(-W // step), generator=generator) for C, step in sizes
    ]
    return tokenizer, torch.randn(2, 3, H, W, generator=generator), maps


@pytest.mark.parametrize("H", [128, 129, 130, 131])
@pytest.mark.parametrize(("stride", "max_memory"), [(3, 0), (3, 2**24), (4, 2**23)])
@torch.no_grad()
def test_tokens_made_in_strips_are_the_same(generator, H, stride, max_memory):
    tokenizer, images, maps = small_tokenizer(generator, H)
    whole = tokenizer(images, maps, stride, 2**40)
    every = tokenizer(images, maps, 1, 2**40)
    torch.testing.assert_close(whole, every[..., stride // 2 :: stride, stride // 2 :: stride])
    strips = tokenizer(images, maps, stride, max_memory)
    torch.testing.assert_close(strips, whole, rtol=1e-4, atol=1e-5)


def test_with_gradients_wanted_tokens_are_made_whole(generator):
    tokenizer, images, maps = small_tokenizer(generator, 128)
    tokens = tokenizer(images, maps, 3, 0)
    torch.testing.assert_close(tokens, tokenizer(images, maps, 3, 2**40))
    assert tokens.requires_grad


# --- layers


class Noted(nn.Module):
    """In place of an attention: notes what it was given, gives half of its source."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, tokens, source, table):
        self.calls.append((tokens, source, table))
        return source / 2


def random_norms(layer):
    torch.manual_seed(0)
    for norm in (module for module in layer.modules() if isinstance(module, nn.LayerNorm)):
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    return layer


@torch.no_grad()
def test_the_right_view_is_updated_first_and_the_left_one_sees_it_updated(generator):
    noted = Noted()
    layer = random_norms(CrossLayer(noted, 8))
    left, right, table = (torch.randn(n, 5, 8, generator=generator) for n in (2, 2, 1))
    new_left, new_right = layer(left, right, table[0])
    normed_left, normed_right = layer.norm1(left), layer.norm1(right)
    torch.testing.assert_close(new_right, right + normed_left / 2)
    torch.testing.assert_close(new_left, left + layer.norm2(new_right) / 2)
    first, second = noted.calls
    torch.testing.assert_close(first, (normed_right, normed_left, table[0].flip(0)))
    torch.testing.assert_close(second, (normed_left, layer.norm2(new_right), table[0]))


@torch.no_grad()
def test_a_self_layer_adds_the_message_of_normed_tokens(generator):
    layer = random_norms(SelfLayer(Noted(), 8))
    tokens = torch.randn(2, 5, 8, generator=generator)
    torch.testing.assert_close(layer(tokens, tokens[0]), tokens + layer.norm1(tokens) / 2)


@torch.no_grad()
def test_the_transformer_is_its_layers_in_turn(generator):
    torch.manual_seed(0)
    transformer = RowTransformer(
        8, lambda: RelativeRowAttention(8, 2), 3, RelativeRowAttention(8, 2)
    ).double()
    left, right = torch.randn(2, 4, 5, 8, generator=generator, dtype=torch.float64)
    table = distance_sines(5, 5, 8, dtype=torch.float64)
    got = transformer.logits(*transformer(left, right, table), table)
    for own, cross in zip(transformer.self_layers, transformer.cross_layers, strict=True):
        left, right = own(left, table), own(right, table)
        before = left
        left, right = cross(left, right, table)
    last = transformer.cross_layers[-1]
    want = last.attention.logits(last.norm1(before), last.norm2(right), table, causal=True)
    torch.testing.assert_close(got, want)


@torch.no_grad()
def test_other_attentions_than_the_full_one_can_be_put_in(generator):
    noted = Noted()
    transformer = RowTransformer(8, lambda: noted, 2, RelativeRowAttention(8, 2))
    left, right = torch.randn(2, 4, 5, 8, generator=generator)
    transformer(left, right, distance_sines(5, 5, 8))
    assert len(noted.calls) == 4  # self, cross to the right and the left, self; the last is full
