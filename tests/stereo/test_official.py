"""The official networks' names, shapes, files and numbers."""

import csv

import numpy as np
import pytest
import torch

from stereo import sttr
from stereo.official import (
    is_light,
    load_official,
    load_official_weights,
    official_names,
    to_official,
)
from stereo.sttr import SttrNetwork
from tests.shared_data import shared
from tests.stereo.official_sttr import rule_filled

NAMES = {"sttr": False, "sttr_light": True}  # light


def on_paper(light):
    with torch.device("meta"):
        return SttrNetwork(light=light)


def random_weights(light, seed=0):
    torch.manual_seed(seed)
    return to_official(SttrNetwork(light=light))


# --- names and shapes


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_the_official_ones(name):
    with shared(f"reference/state_dicts/{name}.tsv").open() as file:
        want = {row[0]: row[1] for row in csv.reader(file, delimiter="\t")}
    weights = to_official(on_paper(NAMES[name]))
    assert {key: str(tuple(value.shape)) for key, value in weights.items()} == want


@pytest.mark.parametrize(
    ("light", "entries", "parameters"),
    [(False, 351, 2_513_811), (True, 337, 2_333_347)],  # PROTOCOLS 3.7
)
def test_sizes_are_the_official_ones(light, entries, parameters):
    network = on_paper(light)
    assert len(to_official(network)) == entries
    # the norm after the last layer, which the official network has and never uses
    assert sum(p.numel() for p in network.parameters()) + 2 * 128 == parameters


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("backbone.branch1.2.bias", "backbone.branch1.2.bias"),
        (
            "tokenizer.bottle_neck.layers.0.conv1.weight",
            "tokenizer.bottle_neck.denselayer1.conv1.weight",
        ),
        (
            "tokenizer.dense_block.1.layers.3.norm2.bias",
            "tokenizer.dense_block.1.denselayer4.norm2.bias",
        ),
        ("tokenizer.dense_block.2.3.weight", "tokenizer.dense_block.2.double_conv.3.weight"),
        ("tokenizer.up.0.bias", "tokenizer.up.0.convTrans.bias"),
        ("tokenizer.up.2.1.weight", "tokenizer.up.2.convTrans.1.weight"),
        (
            "transformer.self_layers.5.attention.qkv.weight",
            "transformer.self_attn_layers.5.self_attn.in_proj_weight",
        ),
        (
            "transformer.cross_layers.0.attention.out.bias",
            "transformer.cross_attn_layers.0.cross_attn.out_proj.bias",
        ),
        ("transformer.cross_layers.3.norm2.weight", "transformer.cross_attn_layers.3.norm2.weight"),
        ("dustbin", "regression_head.phi"),
        (
            "context.layers.7.module.0.weight_g",
            "regression_head.cal.layers.7.module.0.weight_g",
        ),
    ],
)
def test_the_key_map_by_example(ours, official):
    assert official_names(on_paper(light=False))[ours] == official


@pytest.mark.parametrize("light", NAMES.values())
def test_no_two_weights_share_an_official_name(light):
    names = official_names(on_paper(light))
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("light", NAMES.values())
def test_weights_go_out_and_come_back(light):
    network, weights = SttrNetwork(light=light), random_weights(light, seed=1)
    load_official_weights(network, weights)
    back = to_official(network)
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], value) for name, value in weights.items())


# --- files


@pytest.mark.parametrize("light", NAMES.values())
def test_a_file_is_recognised_and_loads_in_eval_mode(tmp_path, light):
    weights = random_weights(light)
    weights["transformer.norm.weight"] += 1
    weights["backbone.in_conv.1.running_mean"] = torch.full((16,), torch.nan)
    weights["backbone.in_conv.1.running_var"] = torch.zeros(16)
    saved = {"epoch": 3, "state_dict": weights, "optimizer": {}, "best_pred": np.inf}
    torch.save(saved, tmp_path / "model.pth.tar")
    network = load_official(tmp_path / "model.pth.tar")
    assert network.light == light
    assert not network.training
    for ours, official in official_names(network).items():
        assert torch.equal(network.state_dict()[ours], weights[official])


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="must hold STTR or STTR-light weights, got x"):
        is_light({"x": torch.zeros(1)})
    with pytest.raises(ValueError, match="got no weights at all"):
        is_light({})


def test_light_weights_do_not_fit_the_other_network():
    with pytest.raises(ValueError, match="differ"):
        load_official_weights(on_paper(light=False), random_weights(light=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("regression_head.phi"), r"missing regression_head\.phi \(\)$"),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), r"unknown extra\.weight$"),
        (
            lambda w: w.update({"regression_head.cal.out_conv.bias": torch.zeros(2)}),
            r"regression_head\.cal\.out_conv\.bias is \(2,\) instead of \(1,\)$",
        ),
        (
            lambda w: w.update({"tokenizer.up.0.convTrans.bias": torch.full((64,), torch.nan)}),
            r"NaN or .* tokenizer\.up\.0\.convTrans\.bias$",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line(tmp_path, change, words):
    weights = random_weights(light=True)
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "light.pth.tar")
    with pytest.raises(ValueError, match=words) as error:
        load_official(tmp_path / "light.pth.tar")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "light.pth.tar"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        load_official(tmp_path / "none.pth.tar")


# --- numbers: outputs of the official networks, in ../shared/reference


class OfficialCase:
    """What an official network gave on a pair, and what ours has with the same weights."""

    def __init__(self, name):
        with np.load(shared(f"reference/networks/{name}.npz")) as file:
            prefix = "small_ds3/"
            self.want = {k.removeprefix(prefix): file[k] for k in file if k.startswith(prefix)}
        self.network = SttrNetwork(light=NAMES[name]).eval()
        shapes = {key: value.shape for key, value in to_official(self.network).items()}
        load_official_weights(self.network, rule_filled(shapes))
        self.images = torch.from_numpy(
            np.concatenate([self.want["in/left"], self.want["in/right"]])
        )

    def error(self, got, key):
        """Largest difference from a stored value, over the largest stored one."""
        if key in self.want:
            stored, step = key, 1
        else:
            stored = next(k for k in self.want if k.startswith((f"{key}/head", f"{key}/every_")))
            step = 1 if stored.endswith("head") else int(stored.rsplit("_", 1)[1])
        want = torch.from_numpy(self.want[stored]).flatten()
        got = got.flatten()[::step][: len(want)]
        finite = want.isfinite()
        assert torch.equal(got[~finite], want[~finite])  # minus infinity
        return float((got - want)[finite].abs().max() / want[finite].abs().max())


@pytest.mark.parametrize("name", [pytest.param("sttr", marks=pytest.mark.slow), "sttr_light"])
@torch.no_grad()
def test_every_stage_agrees_with_the_official_network(name, monkeypatch):
    case = OfficialCase(name)
    network, images = case.network, case.images
    maps = network.backbone(images)
    first = 0 if network.light else 1  # the backbone of STTR also gives the images
    errors = {f"map {i}": case.error(x, f"mid/backbone/0/{i + first}") for i, x in enumerate(maps)}
    tokens = network.tokenizer(images, maps, stride=1, max_memory=2**40)
    errors["tokens"] = case.error(tokens, "mid/tokenizer/0/0")
    if not network.light:
        first, step = network.stride // 2, network.stride  # as the tokenizer itself samples
        assert case.want["in/sampled_cols"].tolist() == [list(range(240)[first::step])]
        assert case.want["in/sampled_rows"].tolist() == [list(range(144)[first::step])]
        tokens = tokens[..., first::step, first::step]
    monkeypatch.setattr(network, "tokens", lambda _: tokens.permute(0, 2, 3, 1))
    matched = query, source, table = network.match(images)
    errors["table"] = case.error(table, "mid/pos_encoder/0/0")
    logits = network.transformer.logits(query, source, table)
    errors["logits"] = case.error(logits, "mid/transformer/0/0")
    rows = network.regress(*matched)
    scale = images.shape[-1] / rows.disparity.shape[1]
    errors["rows"] = case.error(rows.disparity * scale, "out/disp_pred_low_res")
    monkeypatch.setattr(network, "match", lambda _: matched)
    monkeypatch.setattr(sttr, "normalised", lambda images: images)  # the stored ones are already
    output = network(images[:1], images[1:])
    errors["disparity"] = case.error(output.disparity, "out/disp_pred")
    errors["occlusion"] = case.error(output.occlusion, "out/occ_pred")
    assert all(error < 1e-5 for error in errors.values()), errors
