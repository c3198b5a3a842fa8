import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from eval.convergence import (
    Budget,
    FixedPairs,
    Row,
    accuracy,
    final_accuracy,
    learn,
    own_place,
    steps_to_reach,
)
from eval.convergence_command import cells, main, reached
from eval.convergence_picture import draw_convergence
from matching.checkpoint import save_checkpoint
from matching.model import build_matcher
from matching.point_config import PointConfig
from tests.matching.test_model import TINY

TINY_DECODER = PointConfig(
    start="learned", channels=16, heads=2, layers=1, refinements=0,
    coarse_channels=16, fine_channels=8,
)  # fmt: skip


def row(attention, step, share, seed=0):
    return Row(attention, seed, step, share / 2, share, 9.0, 1.0, 10, 0.25)


ROWS = [row("full", step, share) for step, share in ((10, 0.1), (20, 0.4), (30, 0.6), (40, 0.8))]
ROWS += [row("deformable", step, share) for step, share in ((10, 0.6), (20, 0.59), (30, 0.9))]
ROWS += [row("conditional", step, share) for step, share in ((10, 0.1), (20, 0.2))]


def pairs(generator, count=3):
    def drawn(*shape):
        return torch.randn(count, *shape, generator=generator).half()

    points = torch.rand(count, 5, 2, generator=generator) * 31
    fine = drawn(8, 16, 16), drawn(8, 16, 16)
    visible = torch.ones(count, 5, dtype=torch.bool)
    return FixedPairs(drawn(16, 4, 4), drawn(16, 4, 4), *fine, points, points, visible)


def test_the_end_is_the_mean_of_the_last_validations_and_steps_count_to_the_first_that_has_it():
    assert final_accuracy(ROWS, "full", 0) == pytest.approx(0.6)  # (0.4 + 0.6 + 0.8) / 3
    assert steps_to_reach(ROWS, "full", 0, 0.6) == 30
    assert steps_to_reach(ROWS, "deformable", 0, 0.6) == 10
    assert steps_to_reach(ROWS, "conditional", 0, 0.6) is None
    found = {each.attention: each.steps for each in reached(ROWS)}
    assert found == {"full": [30], "deformable": [10], "conditional": [None]}


def test_a_decoder_learns_what_it_is_shown_and_again_the_same(generator):
    known = pairs(generator)
    budget = Budget(steps=20, validate_every=10, batch=2, points=4, warmup=5, learning_rate=3e-3)
    rows = list(learn(TINY_DECODER, 0, known, known, budget))
    assert [each.step for each in rows] == [10, 20]
    assert rows[1].median_px < rows[0].median_px
    again = list(learn(TINY_DECODER, 0, known, known, budget))
    assert [each.median_px for each in again] == [each.median_px for each in rows]


def test_accuracy_counts_visible_points_only(generator):
    from matching.point_decoder import PointDecoder

    known = pairs(generator)
    torch.manual_seed(0)
    decoder = PointDecoder(TINY_DECODER).eval()
    _, median = accuracy(decoder, known)
    far = known.points1.clone()
    far[:, 3:] = 1e6
    visible = known.visible.clone()
    visible[:, 3:] = False
    parts = {**vars(known), "points1": far, "visible": visible}
    assert accuracy(decoder, FixedPairs(**parts))[1] < 100 > median


def test_the_own_place_is_right_where_nothing_moved(generator):
    known = pairs(generator)
    assert own_place(known) == 1
    moved = known.points1 + torch.tensor([9.0, 0.0]) * torch.tensor([0, 0, 1, 1, 1])[:, None]
    assert own_place(replace(known, points1=moved)) == pytest.approx(0.4)
    assert cells(ROWS)[0] == ["own place", "25.0 %", ""]


def test_curves_are_drawn_for_runs_of_any_length(tmp_path):
    draw_convergence([*ROWS, row("full", 10, 0.2, seed=1)], "title", tmp_path / "c.png")
    assert cv2.imread(str(tmp_path / "c.png")) is not None


@pytest.mark.slow
def test_the_command_goes_on_with_what_is_missing(tmp_path, capsys):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "m.safetensors", build_matcher(TINY), TINY, {})
    (tmp_path / "photos").mkdir()
    for number in range(2):
        photo = np.random.default_rng(number).integers(0, 256, (90, 90, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), photo)
    words = [
        f"--photos={tmp_path / 'photos'}", f"--weights={tmp_path / 'm.safetensors'}",
        f"--out={tmp_path / 'out'}", "--pairs=2", "--validation-pairs=1", "--side=32",
        "--points=8", "--channels=16", "--layers=1", "--steps=2", "--validate-every=1",
        "--batch=1", "--points-per-step=4", "--seeds", "0", "--attentions",
    ]  # fmt: skip
    assert main([*words, "full"]) == 0
    before = json.loads((tmp_path / "out" / "convergence.json").read_text())["rows"]
    assert main([*words, "full", "deformable"]) == 0
    after = json.loads((tmp_path / "out" / "convergence.json").read_text())["rows"]
    assert after[:2] == before
    assert [each["attention"] for each in after] == ["full"] * 2 + ["deformable"] * 2
    assert (tmp_path / "out" / "convergence.png").exists()
    assert main([*words, "full", "--layers=2"]) == 2
    assert "made with other settings" in capsys.readouterr().err
