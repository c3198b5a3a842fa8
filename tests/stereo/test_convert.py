import pickle

import pytest
import torch

from stereo import __main__ as command
from stereo.checkpoint import load_checkpoint
from stereo.official import to_official
from stereo.sttr import SttrNetwork
from tests.command_checks import assert_told_in_one_line


@pytest.mark.parametrize("light", [False, True])
def test_a_converted_file_holds_the_same_weights(tmp_path, capsys, light):
    torch.manual_seed(0)
    official = to_official(SttrNetwork(light=light))
    torch.save({"state_dict": official}, tmp_path / "model.pth.tar")
    output = tmp_path / "ours.safetensors"
    assert command.main(["convert", str(tmp_path / "model.pth.tar"), str(output)]) == 0
    assert f"preset {'sttr_light' if light else 'sttr'}, 2." in capsys.readouterr().out
    network, config, card = load_checkpoint(output)
    assert config.network == card["preset"] == ("sttr_light" if light else "sttr")
    got = to_official(network)
    assert all(torch.equal(got[name], value) for name, value in official.items())


def test_what_the_user_can_mend_is_one_line_and_code_2(tmp_path, capsys):
    (tmp_path / "code.tar").write_bytes(pickle.dumps(print))
    torch.save({"a": torch.ones(1)}, tmp_path / "other.tar")
    for name in ("code.tar", "other.tar", "missing.tar"):
        words = ["convert", str(tmp_path / name), str(tmp_path / "a.safetensors")]
        assert_told_in_one_line(command.main, words, f"{tmp_path / name} must", capsys)
    assert not (tmp_path / "a.safetensors").exists()
