"""The official networks' names and shapes, and the files they come in."""

import csv
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from kornia.feature import LoFTR

from matching.config import PRESETS
from matching.model import build_matcher
from matching.official import (
    family_of,
    load_official,
    load_official_weights,
    official_names,
    official_shapes,
    recognise,
    to_official,
)
from tests.matching.official_weights import random_matcher
from tests.shared_data import shared

pytestmark = pytest.mark.once

TABLES = {
    "loftr_ds": "loftr",
    "loftr_ds_new": "loftr_new",
    "quadtree_b_indoor": "quadtree",
    "quadtree_a": "quadtree_a",
}


def on_paper(preset):
    """The matcher of a preset without memory for its weights."""
    with torch.device("meta"):
        return build_matcher(PRESETS[preset])


# --- names and shapes


@pytest.mark.parametrize("table", TABLES)
def test_names_shapes_and_order_are_the_official_ones(table):
    with shared(f"reference/state_dicts/{table}.tsv").open() as file:
        want = {row[0]: row[1] for row in csv.reader(file, delimiter="\t")}
    got = official_shapes(on_paper(TABLES[table]))
    assert {name: str(tuple(shape)) for name, shape in got.items()} == want


def test_names_are_those_of_kornia():
    want = {name: value.shape for name, value in LoFTR(pretrained=None).state_dict().items()}
    assert official_shapes(on_paper("loftr")) == want


@pytest.mark.parametrize(
    ("preset", "entries", "parameters"),
    [  # PROTOCOLS 3.7
        ("loftr", 211, 11_561_456),
        ("loftr_ot", 212, 11_561_457),
        ("quadtree", 259, 12_704_264),
        ("quadtree_a", 251, 12_704_240),
    ],
)
def test_sizes_are_the_official_ones(preset, entries, parameters):
    matcher = on_paper(preset)
    assert len(matcher.state_dict()) == entries
    assert sum(p.numel() for p in matcher.parameters()) == parameters


@pytest.mark.parametrize("preset", ["loftr", "loftr_ot", "quadtree", "quadtree_a"])
def test_no_two_weights_share_an_official_name(preset):
    names = official_names(on_paper(preset).state_dict())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("preset", "ours", "official"),
    [
        ("loftr", "trunk.layer2.0.downsample.1.bias", "backbone.layer2.0.downsample.1.bias"),
        ("loftr", "fine.down_proj.bias", "fine_preprocess.down_proj.bias"),
        ("loftr_ot", "dustbin", "coarse_matching.bin_score"),
        (
            "loftr",
            "transformer.layers.7.attention.out.weight",
            "loftr_coarse.layers.7.merge.weight",
        ),
        (
            "quadtree",
            "transformer.layers.7.attention.key.weight",
            "loftr_coarse.layers.7.attn.k_proj.weight",
        ),
        (
            "quadtree",
            "transformer.layers.0.attention.level_weight",
            "loftr_coarse.layers.0.attn.py_att.weight",
        ),
        (
            "quadtree",
            "transformer.layers.0.conv.bias",
            "loftr_coarse.layers.0.mlp.dwconv.dwconv.bias",
        ),
        (
            "quadtree",
            "fine.transformer.layers.1.attention.query.weight",
            "loftr_fine.layers.1.q_proj.weight",
        ),
    ],
)
def test_the_key_map_by_example(preset, ours, official):
    assert official_names(on_paper(preset).state_dict())[ours] == official


LEPE = replace(PRESETS["quadtree"].coarse, position="lepe")
NOT_OFFICIAL = [
    PRESETS["small"],
    replace(PRESETS["loftr"], trunk=PRESETS["small"].trunk),
    replace(PRESETS["loftr"], fine=PRESETS["small"].fine),
    replace(PRESETS["loftr"], similarity="cosine"),
    replace(PRESETS["quadtree"], coarse=LEPE),
]


@pytest.mark.parametrize("config", NOT_OFFICIAL)
def test_a_network_of_ours_alone_has_no_official_names(config):
    with torch.device("meta"):
        matcher = build_matcher(config)
    with pytest.raises(ValueError, match="no counterpart in the official networks"):
        to_official(matcher)
    with pytest.raises(ValueError, match="presets that have one: loftr"):
        family_of(config)


@pytest.mark.parametrize("preset", ["loftr_ot", "quadtree"])
def test_weights_go_out_and_come_back_with_the_prefix_or_without(preset):
    matcher, other = random_matcher(preset), build_matcher(PRESETS[preset])
    weights = to_official(matcher)
    load_official_weights(other, {f"matcher.{name}": value for name, value in weights.items()})
    want = matcher.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in other.state_dict().items())


# --- files


def official_file(path, preset, change=None):
    """An official-looking file with random weights, with the prefix that Lightning gives."""
    weights = to_official(random_matcher(preset))
    if change:
        change(weights)
    torch.save({"state_dict": {f"matcher.{k}": v for k, v in weights.items()}}, path)
    return path


@pytest.mark.parametrize("preset", ["loftr", "loftr_ot", "quadtree", "quadtree_a"])
def test_the_family_of_a_file_is_recognised(preset):
    weights = {name: torch.empty(0) for name in official_shapes(on_paper(preset))}
    assert recognise(weights) == family_of(PRESETS[preset])


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["tokenizer.up.1.convTrans.weight", "tokenizer.up.2.convTrans.2.weight"], "STTR"),
        (["tokenizer.up.1.convTrans.weight"], "STTR-light"),
    ],
)
def test_a_stereo_file_is_recognised(names, family):
    assert recognise({name: torch.empty(0) for name in names}).name == family


def test_an_official_file_loads_in_eval_mode_with_the_presets_config(tmp_path):
    path = official_file(tmp_path / "indoor.ckpt", "quadtree")
    matcher, config = load_official(path, "quadtree_outdoor")
    assert config == PRESETS["quadtree_outdoor"]
    assert not matcher.training
    saved = torch.load(path, weights_only=True)["state_dict"]
    for name, value in to_official(matcher).items():
        assert torch.equal(value, saved[f"matcher.{name}"])


def test_a_bare_state_dict_loads_as_well(tmp_path):
    torch.save(to_official(random_matcher("loftr")), tmp_path / "loftr.pth")
    load_official(tmp_path / "loftr.pth", "loftr_new")


def test_the_position_encoding_is_the_presets_business():
    assert not PRESETS["loftr"].coarse.corrected_encoding
    assert not PRESETS["loftr_ot"].coarse.corrected_encoding
    assert all(
        PRESETS[name].coarse.corrected_encoding
        for name in ("loftr_new", "quadtree", "quadtree_outdoor", "quadtree_a")
    )


@pytest.mark.parametrize(
    ("written", "preset", "words"),
    [
        ("loftr", "quadtree", "must be QuadTree-B for preset 'quadtree', got LoFTR"),
        ("loftr_ot", "loftr", "must be LoFTR for preset 'loftr', got LoFTR with Sinkhorn"),
        ("loftr", "small", "preset must be one of loftr, .*, got 'small'"),
    ],
)
def test_a_file_that_does_not_fit_the_preset_is_refused(tmp_path, written, preset, words):
    path = official_file(tmp_path / "some.ckpt", written)
    with pytest.raises(ValueError, match=words):
        load_official(path, preset)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: w.pop("backbone.bn1.running_var"),
            r"missing backbone\.bn1\.running_var \(128,\)$",
        ),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), r"unknown extra\.weight$"),
        (
            lambda w: w.update({"loftr_fine.layers.0.merge.weight": torch.zeros(128, 128, 1, 1)}),
            r"loftr_fine\.layers\.0\.merge\.weight is \(128, 128, 1, 1\) instead of \(128, 128\)$",
        ),
        (  # two blocks of two convolutions and norms (5 entries each), and a third pair: 30
            lambda w: [w.pop(name) for name in list(w) if ".layer3." in name],
            r"missing backbone\.layer3\.0\.conv1\.weight .* and 25 more$",
        ),
        (
            lambda w: w.update({"backbone.bn1.bias": torch.full((128,), torch.nan)}),
            r"NaN or .* backbone\.bn1\.bias$",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line(tmp_path, change, words):
    path = official_file(tmp_path / "some.ckpt", "loftr", change)
    with pytest.raises(ValueError, match=words) as error:
        load_official(path, "loftr")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Payload(), "torch file of tensors"),
        ({"state_dict": {}}, "got no weights at all"),
        ({"state_dict": {"x": torch.zeros(1)}}, "must hold LoFTR or QuadTree weights, got x"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_not_run(tmp_path, content, words, capsys):
    torch.save(content, tmp_path / "some.ckpt")
    with pytest.raises(ValueError, match=words) as error:
        load_official(tmp_path / "some.ckpt", "loftr")
    assert "\n" not in str(error.value)
    assert "unpickled" not in capsys.readouterr().out


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        load_official(tmp_path / "none.ckpt", "loftr")
    with pytest.raises(ValueError, match="got a folder"):
        load_official(tmp_path, "loftr")


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory):
    """A file to write to, and the bytes of small ones as torch.save makes them, now and of old."""
    path = tmp_path_factory.mktemp("damaged") / "some.ckpt"
    contents = []
    for modern in (False, True):
        weights = {"matcher.x": torch.arange(5.0), "matcher.y": torch.ones(2, 2)}
        torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=modern)
        contents.append(path.read_bytes())
    return path, contents


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    modern=st.booleans(),
    keep=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_a_damaged_file_is_refused_in_one_line(torch_files, modern, keep, changes):
    path, contents = torch_files
    content = bytearray(contents[modern])
    del content[round(keep * len(content)) :]
    for place, value in changes if content else ():
        content[int(place * len(content))] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}") as error:
        load_official(path, "loftr")
    assert "\n" not in str(error.value)
