import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_scripts import photo_training
from data_scripts.long_run import locked
from data_scripts.train_loop import learning_rate
from data_scripts.train_state import TrainState, load_state, save_state
from matching import train as training
from tests.noise_photos import write_noise_photos


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A run of a tiny matcher on two photos of noise, a few seconds long."""
    from tests.matching.test_model import TINY

    monkeypatch.setitem(training.PRESETS, "tiny", TINY)
    write_noise_photos(tmp_path / "photos", 5)
    return [
        f"--photos={tmp_path / 'photos'}", f"--out={tmp_path / 'out'}", "--preset=tiny",
        "--workers=0", "--validate-every=2", "--validation-batches=1", "--hold-out=2",
        "--pairs.sizes", "64", "64", "--pairs.batch=2", "--pairs.scenes=0", "--device=cpu",
    ]  # fmt: skip


def test_a_run_learns_logs_and_leaves_weights_that_load(arguments, tmp_path):
    from matching.checkpoint import load_checkpoint

    assert training.main([*arguments, "--steps=4"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(np.isfinite(line["loss"]) for line in lines)
    _, config, card = load_checkpoint(tmp_path / "out" / "matcher.safetensors")
    assert config == training.PRESETS["tiny"]
    assert card["steps"] == 4


def test_a_run_can_start_from_the_weights_of_another(arguments, tmp_path):
    from matching.checkpoint import load_checkpoint

    training.main([*arguments, "--steps=2"])
    first = tmp_path / "out" / "matcher.safetensors"
    again = [*arguments, f"--start={first}", "--steps=1", "--learning-rate=0", "--validate-every=1"]
    again[1] = f"--out={tmp_path / 'again'}"
    training.main(again)
    ours, _, _ = load_checkpoint(tmp_path / "again" / "matcher.safetensors")
    theirs, _, _ = load_checkpoint(first)
    for (name, value), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(value, other, atol=1e-6, rtol=1e-5, msg=name)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(arguments, tmp_path):
    whole, parts = [*arguments, "--steps=4"], list(arguments)
    training.main(whole)
    want = torch.load(tmp_path / "out" / "last.pt", weights_only=True)
    parts[1] = f"--out={tmp_path / 'parts'}"
    training.main([*parts, "--steps=4", "--minutes=0"])  # one step, then time is up
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 1
    training.main([*parts, "--steps=4"])
    got = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    assert got["step"] == 4
    torch.testing.assert_close(got["network"], want["network"])


def test_a_second_run_in_the_same_folder_ends_at_once_and_changes_nothing(
    arguments, tmp_path, capsys
):
    with locked(tmp_path / "out"):
        assert training.main([*arguments, "--steps=2"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "out: another process is at work there" in said
        assert "wait for it, or choose another --out" in said
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
        elsewhere = [*arguments, "--steps=1"]
        elsewhere[1] = f"--out={tmp_path / 'elsewhere'}"
        assert training.main(elsewhere) == 0
    assert training.main([*arguments, "--steps=1"]) == 0


def test_only_the_first_of_several_processes_takes_the_lock(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_training, "join_processes", lambda _: (1, 1))
    with locked(tmp_path / "out"):
        assert training.main([*arguments, "--steps=1"]) == 0


def test_a_state_of_another_matcher_is_refused_by_name(tmp_path):
    small, large = torch.nn.Linear(2, 2), torch.nn.Linear(3, 3)
    save_state(tmp_path / "last.pt", TrainState.fresh(small, 1e-3, 0.0))
    with pytest.raises(ValueError, match=r"last.pt must be a training state of this preset"):
        load_state(tmp_path / "last.pt", TrainState.fresh(large, 1e-3, 0.0))


def test_a_truncated_state_is_refused(tmp_path):
    save_state(tmp_path / "last.pt", TrainState.fresh(torch.nn.Linear(2, 2), 1e-3, 0.0))
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must be a training state"):
        load_state(tmp_path / "last.pt", TrainState.fresh(torch.nn.Linear(2, 2), 1e-3, 0.0))


def test_the_learning_rate_rises_stays_and_falls():
    settings = training.TrainSettings(
        photos="x", steps=100, warmup=10, cooldown=20, learning_rate=1.0
    )
    rates = [learning_rate(settings, step) for step in (0, 9, 50, 90, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.05])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hold_out": 1}, "--hold-out must be 2 or more"),
        ({"steps": 0}, "--steps must be 1 or more"),
        ({"validate_every": 0}, "--validate-every must be 1 or more"),
        ({"threads": -1}, "--threads must be 0 or more"),
        ({"warmup": -1}, "--warmup must be 0 or more"),
        ({"learning_rate": float("nan")}, "--learning-rate must be 0 or more"),
        ({"average": 3.0}, r"--average must be in \[0, 1\)"),
    ],
)
def test_settings_with_which_no_training_can_go_on_are_told(wrong, said):
    with pytest.raises(ValueError, match=said):
        training.TrainSettings(photos=Path("x"), **wrong)


def test_no_warm_up_and_no_fall_leave_the_rate_as_it_is():
    settings = training.TrainSettings(
        photos=Path("x"), steps=9, warmup=0, cooldown=0, learning_rate=1.0
    )
    assert [learning_rate(settings, step) for step in (0, 8)] == [1.0, 1.0]


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_one_line(arguments, capsys, device):
    assert training.main([*arguments, "--device", device]) == 2
    err = capsys.readouterr().err
    assert "device" in err
    assert err.count("\n") == 1


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(arguments, tmp_path, monkeypatch):
    def broken(*arguments):
        loss, report = step_loss(*arguments)
        return loss * float("nan"), report

    step_loss = training.step_loss
    monkeypatch.setattr(training, "step_loss", broken)
    training.main([*arguments, "--steps=2"])
    saved = torch.load(tmp_path / "out" / "last.pt", weights_only=True)
    assert saved["skipped"] == 2
    assert all(torch.isfinite(value).all() for value in saved["network"].values())


def test_fine_only_changes_the_fine_stage_alone(arguments, tmp_path):
    from matching.checkpoint import load_checkpoint

    training.main([*arguments, "--steps=2"])
    first = tmp_path / "out" / "matcher.safetensors"
    again = [*arguments, f"--start={first}", "--steps=2", "--fine-only"]
    again[1] = f"--out={tmp_path / 'again'}"
    training.main(again)
    before, after = (
        load_checkpoint(path)[0].state_dict()
        for path in (first, tmp_path / "again" / "matcher.safetensors")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("fine.") for name in changed)
