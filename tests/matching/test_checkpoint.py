import json
import os
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from data_scripts.config_json import config_to_json
from data_scripts.weights_file import read_card
from matching.checkpoint import load_checkpoint, save_checkpoint
from matching.config import CoarseConfig, FineConfig, MatcherConfig, TrunkConfig
from matching.model import build_matcher

pytestmark = pytest.mark.once

TINY = MatcherConfig(
    trunk=TrunkConfig("resnet_fpn", (8, 8, 8), (1, 1, 1), fine_channels=8),
    coarse=CoarseConfig(channels=8, heads=2, kinds=("self", "cross")),
    fine=FineConfig(heads=2),
    threshold=0.0,
    border=0,
)
CARD = {"licence": "Apache-2.0", "metrics": {"auc": [51.0, 67.0]}, "steps": 12000}


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a matcher with fresh weights, and that matcher."""
    matcher = build_matcher(TINY).eval()
    save_checkpoint(tmp_path / "tiny.safetensors", matcher, TINY, CARD)
    return tmp_path / "tiny.safetensors", matcher


def rewrite(path, change_weights=None, change_saved=None):
    """Writes a checkpoint again with other weights or another JSON entry."""
    weights = load_file(path)
    config, card = read_card(path, MatcherConfig)
    entry = {"format": 1, "config": config_to_json(config), "card": card}
    if change_weights:
        change_weights(weights)
    if change_saved:
        change_saved(entry)
    save_file(weights, path, {"quadview": json.dumps(entry)})


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)


def test_weights_config_and_card_come_back(saved):
    path, matcher = saved
    loaded, config, card = load_checkpoint(path)
    assert config == TINY
    assert card == CARD
    assert not loaded.training
    want = matcher.state_dict()
    got = loaded.state_dict()
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_a_loaded_matcher_finds_the_same_and_can_be_trained(saved, generator):
    path, matcher = saved
    loaded, _, _ = load_checkpoint(path)
    images = torch.rand(2, 1, 1, 32, 40, generator=generator)
    with torch.no_grad():
        want, got = matcher(*images), loaded(*images)
    assert len(want.pair) > 0
    assert torch.equal(got.kpts1, want.kpts1)
    assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.parameters())


def test_loading_draws_no_random_numbers(saved):
    before = torch.get_rng_state()
    load_checkpoint(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_checkpoints_have_equal_bytes(saved, tmp_path):
    path, matcher = saved
    matcher = matcher.to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "again.safetensors", matcher, TINY, CARD)
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_half_precision_is_for_matrices_and_kernels_only(saved, tmp_path):
    path, matcher = saved
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, matcher, TINY, CARD, dtype=torch.float16)
    assert half.stat().st_size < 0.7 * path.stat().st_size
    loaded, _, _ = load_checkpoint(half)
    for name, want in matcher.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == want.dtype
        assert torch.equal(got, want.half().float() if want.dim() > 1 else want)


def test_a_card_may_hold_numbers_that_json_does_not_know(saved):
    path, matcher = saved
    save_checkpoint(path, matcher, TINY, {"loss": float("nan"), "rest": [1.5, float("inf")]})
    assert read_card(path, MatcherConfig)[1] == {"loss": None, "rest": [1.5, None]}


def test_a_card_that_is_no_json_is_refused(saved):
    path, matcher = saved
    with pytest.raises(ValueError, match="card must hold only what JSON can"):
        save_checkpoint(path, matcher, TINY, {"path": path})


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    path, matcher = saved
    before = path.read_bytes()

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, matcher, TINY, {"other": "card"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_broken_weights_never_replace_good_ones(saved):
    path, matcher = saved
    before = path.read_bytes()
    matcher.trunk.conv1.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinity in trunk\.conv1\.weight"):
        save_checkpoint(path, matcher, TINY, CARD)
    matcher.trunk.conv1.weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match=r"trunk\.conv1\.weight"):
        save_checkpoint(path, matcher, TINY, CARD, dtype=torch.float16)  # at most 65504
    assert path.read_bytes() == before


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="got a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", bytes(64), b"\xff" * 64, b"PK\x03\x04 not a zip"])
def test_a_file_that_is_no_safetensors_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a safetensors file") as error:
        load_checkpoint(path)
    assert str(path) in one_line(error)


def test_a_torch_file_is_sent_to_the_official_loader(tmp_path):
    path = tmp_path / "outdoor_ds.ckpt"
    torch.save({"state_dict": {"matcher.x": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="load_official"):
        load_checkpoint(path)


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="a checkpoint that quadview wrote"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entry: entry.update(format=2), "format 1, got 2"),
        (lambda entry: entry.pop("card"), "a checkpoint that quadview wrote"),
        (lambda entry: entry["config"].update(colour="red"), "got colour"),
        (lambda entry: entry["config"]["coarse"].update(heads="2"), "heads must be int"),
        (lambda entry: entry["config"]["coarse"].update(heads=0), "a valid config"),
        (lambda entry: entry["config"]["coarse"].update(heads=3), "divide into heads"),
        (lambda entry: entry["config"]["coarse"].update(channels=8 * 10**11), "can be built"),
        (lambda entry: entry["config"]["coarse"].update(channels=16), "instead of"),
        (lambda entry: entry.update(card=5), "a valid config"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(saved, change, words):
    path, _ = saved
    rewrite(path, change_saved=change)
    with pytest.raises(ValueError, match=words) as error:
        load_checkpoint(path)
    assert str(path) in one_line(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("trunk.conv1.weight"), r"missing trunk\.conv1\.weight \(8, 1, 7, 7\)"),
        (lambda w: w.update(extra=torch.zeros(2)), "unknown extra"),
        (
            lambda w: w.update({"trunk.bn1.bias": torch.zeros(9)}),
            r"trunk\.bn1\.bias is \(9,\) instead of \(8,\)",
        ),
        (lambda w: w["trunk.bn1.bias"].fill_(float("inf")), r"NaN or infinity in trunk\.bn1\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line(saved, change, words):
    path, _ = saved
    rewrite(path, change_weights=change)
    with pytest.raises(ValueError, match=words) as error:
        load_checkpoint(path)
    assert str(path) in one_line(error)


def test_many_faults_are_counted_after_the_first_five(saved):
    path, _ = saved
    rewrite(path, change_weights=lambda w: w.update({f"x{n}": torch.zeros(1) for n in range(9)}))
    with pytest.raises(ValueError, match="unknown x4 and 4 more"):
        load_checkpoint(path)


def refusal(path):
    """The message with which a file is refused, None if it loads."""
    try:
        load_checkpoint(path)
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file to write to, and the bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("damaged") / "tiny.safetensors"
    save_checkpoint(path, build_matcher(TINY), TINY, CARD)
    return path, path.read_bytes()


def test_a_file_cut_short_is_refused_in_one_line(whole):
    path, content = whole
    header = 8 + int.from_bytes(content[:8], "little")
    for length in (1, 7, 8, 100, header - 1, header, header + 1, len(content) - 1):
        path.write_bytes(content[:length])
        assert str(path) in refusal(path)
        assert "\n" not in refusal(path)


@hypothesis.settings(max_examples=30)
@hypothesis.given(data=st.data())
def test_a_header_with_a_changed_byte_loads_or_is_refused_in_one_line(whole, data):
    path, content = whole
    changed = bytearray(content)
    header = 8 + int.from_bytes(content[:8], "little")
    changed[data.draw(st.integers(0, header - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    message = refusal(path)
    assert message is None or (str(path) in message and "\n" not in message)


def test_a_config_field_that_the_file_lacks_keeps_its_default(saved):
    path, _ = saved
    rewrite(path, change_saved=lambda entry: entry["config"].pop("similarity"))
    assert load_checkpoint(path)[1] == replace(TINY, similarity="scaled")
