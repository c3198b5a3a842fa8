import json

import cv2
import numpy as np
import pytest

from eval.__main__ import main
from eval.ablation import (
    Accuracy,
    Budget,
    accuracy_of,
    config_of,
    mechanism_names,
    trained_weights,
)
from eval.ablation_command import Arguments, _write, table
from eval.cost import CostRow
from matching.checkpoint import load_checkpoint
from matching.config import SMALL
from matching.predictor import weights_path


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(14):
        coarse = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (160, 160)))
    return folder


def budget(photos, tmp_path, start=None):
    return Budget(photos, tmp_path / "out", start, 1, 1, 64, 1e-3, "cpu", 1)


def test_every_mechanism_has_a_matcher_that_differs_in_the_attention_alone():
    assert config_of("quadtree_b") == SMALL
    assert config_of("quadtree_a").coarse.variant == "A"
    for name in mechanism_names():
        config = config_of(name)
        assert (config.trunk, config.fine) == (SMALL.trunk, SMALL.fine)
        assert config.coarse.channels == SMALL.coarse.channels
    with pytest.raises(ValueError, match=r"mechanisms are quadtree_a, .* got 'quadtree'"):
        config_of("quadtree")


@pytest.mark.slow
def test_a_run_begins_from_the_trunk_only_goes_on_and_repeats(photos, tmp_path):
    start = weights_path("small")
    first = trained_weights(budget(photos, tmp_path, start), "linear", 0)
    trained, config, _ = load_checkpoint(first)
    assert config == config_of("linear")
    shipped, _, _ = load_checkpoint(start)
    new, old = trained.state_dict(), shipped.state_dict()
    step = 0.02  # one step of a rate of 1e-3 leaves trained weights where they were, nearly
    for name in new:
        if name.startswith("trunk.") and name.endswith("weight"):
            assert (new[name] - old[name]).abs().max() < step, name
    assert any(
        (new[name] - old[name]).abs().max() > step
        for name in new
        if name.startswith("transformer.") and name in old and new[name].shape == old[name].shape
    )
    before = first.read_bytes()
    assert trained_weights(budget(photos, tmp_path, start), "linear", 0).read_bytes() == before
    found = accuracy_of(first, "linear", 0, None, 1)
    assert 0 <= found.recall <= 100
    assert found.auc == {}


RUNS = [
    Accuracy("linear", seed, recall, 50.0, 1.0, {"strecha": area})
    for seed, recall, area in ((0, 30.0, 10.0), (1, 34.0, 20.0))
]
COST = CostRow("linear", "forward", 4800, 2_000_000_000, None, 3_000_000, 0.004, 0.0, 7)


def test_the_picture_is_of_recall_and_says_so(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr("eval.cost_picture.draw_against_accuracy", lambda *x: drawn.extend(x))
    _write(Arguments(photos=tmp_path, out=tmp_path), RUNS, [COST], table(RUNS, [COST]))
    _, values, path, label = drawn
    assert values == {"linear": 32.0}
    assert path.name == "ablation.png"
    assert "recall" in label


def test_the_table_has_means_and_spreads_over_seeds():
    heading, line = table(RUNS, [COST])
    assert heading[:5] == ["attention", "recall %", "precision %", "fine px", "strecha @10"]
    assert line == [
        "linear",
        "32.0 ± 2.8",
        "50.0 ± 0.0",
        "1.00 ± 0.00",
        "15.0 ± 7.1",
        "2.00",
        "3",
        "4",
        "7",
    ]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--mechanisms", "magic"], "got 'magic'"),
        (["--steps", "0"], "--steps must be 1 or more, got 0"),
        (["--start", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_code_2(words, wanted, photos, tmp_path, capsys):
    common = ["ablation", "--photos", str(photos), "--out", str(tmp_path / "out")]
    assert main([*common, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert wanted in error
    assert "\n" not in error


@pytest.mark.slow
def test_the_command_writes_rows_a_table_and_a_picture(photos, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--mechanisms", "linear", "--seeds", "3", "--steps", "1", "--batch", "1"]
    words += ["--side", "64", "--checks", "1", "--cost-size", "64", "96", "--start", "none"]
    assert main(["ablation", "--photos", str(photos), "--out", str(out), *words]) == 0
    record = json.loads((out / "ablation.json").read_text())
    assert record["accuracies"][0]["seed"] == 3
    assert record["costs"][0]["tokens"] == 96
    assert "linear" in (out / "ablation.md").read_text()
    assert (out / "ablation.png").stat().st_size > 1000
    assert "linear" in capsys.readouterr().out
