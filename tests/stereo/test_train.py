import json

import numpy as np
import pytest
import torch

from stereo import train as training
from stereo.checkpoint import load_checkpoint
from stereo.config import PRESETS
from stereo.data import PairSettings, StereoBatches
from tests.noise_photos import write_noise_photos
from tests.stereo.tiny import TINY


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A run of a tiny network on photos of noise, a few seconds long."""
    monkeypatch.setitem(training.PRESETS, "tiny", TINY)
    write_noise_photos(tmp_path / "photos", 5)
    return [
        f"--photos={tmp_path / 'photos'}", f"--out={tmp_path / 'out'}", "--preset=tiny",
        "--workers=0", "--validate-every=2", "--validation-batches=1", "--hold-out=2",
        "--pairs.sizes", "64", "96", "--pairs.batch=2", "--device=cpu",
    ]  # fmt: skip


def test_a_run_learns_logs_and_leaves_weights_that_load(arguments, tmp_path):
    assert training.main([*arguments, "--steps=4"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(np.isfinite(line["epe_px"]) for line in lines)
    _, config, card = load_checkpoint(tmp_path / "out" / "stereo.safetensors")
    assert config == TINY
    assert card["steps"] == 4


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(arguments, tmp_path):
    training.main([*arguments, "--steps=3"])
    want = torch.load(tmp_path / "out" / "last.pt", weights_only=True)
    parts = [*arguments]
    parts[1] = f"--out={tmp_path / 'parts'}"
    training.main([*parts, "--steps=3", "--minutes=0"])  # one step, then time is up
    training.main([*parts, "--steps=3"])
    got = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    assert got["step"] == 3
    torch.testing.assert_close(got["network"], want["network"])


def test_a_run_can_start_from_the_stages_of_a_matcher(tmp_path):
    from matching.checkpoint import save_checkpoint as save_matcher
    from matching.config import PRESETS as MATCHERS
    from matching.model import build_matcher

    matcher = build_matcher(MATCHERS["small"])
    save_matcher(tmp_path / "m.safetensors", matcher, MATCHERS["small"], {})
    network = training.build_stereo(PRESETS["small"])
    training.start_from(network, tmp_path / "m.safetensors")
    for ours, theirs in zip(
        network.trunk.stages.parameters(), matcher.trunk.stages.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="stages of this trunk"):
        training.start_from(training.build_stereo(TINY), tmp_path / "m.safetensors")


def test_weights_of_the_same_preset_are_taken_whole(arguments, tmp_path):
    training.main([*arguments, "--steps=2"])
    path = tmp_path / "out" / "stereo.safetensors"
    network = training.build_stereo(TINY)
    training.start_from(network, path)
    saved, _, _ = load_checkpoint(path)
    torch.testing.assert_close(network.state_dict(), saved.state_dict())


def test_official_networks_and_missing_photos_are_refused(arguments, capsys):
    assert training.main([*arguments, "--preset=sttr"]) == 2
    assert "preset must be one of" in capsys.readouterr().err
    assert training.main(["--photos=/nowhere", "--preset=tiny", *arguments[1:2]]) == 2
    assert "/nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"sizes": ((0, 64),)}, {"batch": 0}, {"scenes": -1.0}])
def test_settings_of_which_no_pairs_can_be_made_are_told(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        PairSettings(**wrong)


def test_a_batch_depends_on_its_number_alone():
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (90, 130, 3), dtype=np.uint8) for _ in range(3)]
    settings = PairSettings(sizes=((64, 96), (96, 128)), batch=2)
    first, again = StereoBatches(photos, settings, 3), StereoBatches(photos, settings, 3)
    first[0]
    for name, value in vars(first[1]).items():
        assert torch.equal(value, getattr(again[1], name)), name
    sizes = {tuple(first[number].disp.shape) for number in range(8)}
    assert sizes == {(2, 64, 96), (1, 96, 128)}
