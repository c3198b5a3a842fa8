import pickle

import pytest
import torch

from matching import __main__ as command
from matching.checkpoint import load_checkpoint
from matching.config import PRESETS
from matching.convert import preset_of
from matching.official import to_official
from tests.command_checks import assert_told_in_one_line
from tests.matching.official_weights import random_matcher

pytestmark = pytest.mark.once


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A LoFTR file as it was released: weights under `matcher.` in 'state_dict'."""
    monkeypatch.chdir(tmp_path)
    weights = to_official(random_matcher("loftr"))
    torch.save({"state_dict": {f"matcher.{k}": v for k, v in weights.items()}}, "outdoor_ds.ckpt")
    return weights


def test_a_converted_file_holds_the_same_weights_and_its_preset(official, capsys):
    assert command.main(["convert", "outdoor_ds.ckpt", "ours.safetensors"]) == 0
    assert capsys.readouterr().out.startswith("ours.safetensors: preset loftr, 11.6 million")
    matcher, config, card = load_checkpoint("ours.safetensors")
    assert config == PRESETS["loftr"]
    assert card["source"] == "outdoor_ds.ckpt"
    got = to_official(matcher)
    assert all(torch.equal(got[name], value) for name, value in official.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.ckpt", "a.safetensors", "--preset", "loftr"], "missing.ckpt must be a"),
        (["other.ckpt", "a.safetensors"], "other.ckpt: the preset cannot be told"),
        (["outdoor_ds.ckpt", "a.pt"], "a.pt: wanted a file name that ends in .safetensors"),
        (["outdoor_ds.ckpt", "a.safetensors", "--preset", "quadtree"], "outdoor_ds.ckpt must be"),
        (["outdoor_ds.ckpt", "a.safetensors", "--preset", "big"], "preset must be one of"),
        (["code.ckpt", "a.safetensors", "--preset", "loftr"], "code.ckpt must be a torch file"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(official, tmp_path, capsys, words, said):
    (tmp_path / "code.ckpt").write_bytes(pickle.dumps(print))
    assert_told_in_one_line(command.main, ["convert", *words], said, capsys)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("indoor_ds.ckpt", "loftr"),
        ("indoor_ds_new.ckpt", "loftr_new"),
        ("a/indoor_ot.pth", "loftr_ot"),
    ],
)
def test_released_names_stand_for_their_presets(tmp_path, name, preset):
    assert preset_of(tmp_path / name) == preset
