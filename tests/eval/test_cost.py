import json

import pytest
import torch

from eval.__main__ import main
from eval.cost import AttentionCase, CostRow, attention_rows, crossover, interleaved_times
from eval.cost_command import cells
from eval.cost_networks import network_rows

NAMES = ("quadtree", "linear", "softmax", "materialised")
CASE = AttentionCase(NAMES, channels=32, heads=2, topk=(4, 4, 4))


def by_name(rows):
    return {row.name: row for row in rows}


def test_every_contender_counts_flops_memory_and_time():
    rows = by_name(attention_rows(CASE, [(8, 8)], "forward", 0.0))
    assert list(rows) == list(NAMES)
    for row in rows.values():
        assert row.flops == pytest.approx(row.analytic_flops, rel=0.05)
        assert row.peak_bytes > 64 * 32 * 4
        assert row.median_s > 0
        assert row.parameters >= 4 * 32 * 32


def test_a_score_matrix_shows_in_memory_but_not_in_flops():
    rows = by_name(attention_rows(CASE, [(24, 24)], "forward", 0.0))
    assert rows["materialised"].flops == rows["softmax"].flops
    matrix = 2 * 576**2 * 4
    assert rows["materialised"].peak_bytes > matrix > rows["softmax"].peak_bytes


def test_a_training_step_costs_about_three_forward_passes_of_linear_attention():
    forward = by_name(attention_rows(CASE, [(16, 16)], "forward", 0.0))["linear"]
    training = by_name(attention_rows(CASE, [(16, 16)], "training", 0.0))["linear"]
    assert training.flops == pytest.approx(3 * forward.flops, rel=0.1)
    assert training.peak_bytes > forward.peak_bytes


def test_what_does_not_fit_is_named_and_not_run():
    case = AttentionCase(("materialised",), channels=32, heads=2, limit_bytes=1000)
    (row,) = attention_rows(case, [(16, 16)], "forward", 0.0)
    assert row.flops is None
    assert "GB" in row.not_run
    assert cells(row)[3] == row.not_run


def test_contenders_take_turns_three_times_at_least():
    calls = []
    times = interleaved_times([lambda: calls.append("a"), lambda: calls.append("b")], 0.0, "cpu")
    assert calls == ["a", "b"] * 3
    assert [len(taken) for taken in times] == [3, 3]


def cost_rows(quadtree, other):
    sizes = (100, 400, 1600)
    rows = [
        CostRow("quadtree", "forward", n, flops=f) for n, f in zip(sizes, quadtree, strict=True)
    ]
    return rows + [
        CostRow("other", "forward", n, flops=f) for n, f in zip(sizes, other, strict=True)
    ]


def test_crossover_lies_where_the_lines_cross_on_a_log_scale():
    # ratios 4, 2, 1/2: halfway between 400 and 1600 on a log scale
    assert crossover(
        cost_rows((4, 4, 4), (1, 2, 8)), "quadtree", "other", "flops"
    ) == pytest.approx(800, rel=1e-6)


@pytest.mark.parametrize(("quadtree", "other"), [((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (1, 2, 2))])
def test_no_crossover_where_one_is_cheaper_at_all_sizes(quadtree, other):
    assert crossover(cost_rows(quadtree, other), "quadtree", "other", "flops") is None


@pytest.mark.parametrize("what", ["matcher", "stereo"])
@pytest.mark.parametrize("pass_name", ["forward", "training"])
def test_whole_networks_are_run_with_each_attention_in_them(what, pass_name):
    torch.manual_seed(0)
    case = AttentionCase(("quadtree", "linear"))
    rows = by_name(network_rows(what, case, [(8, 8)], pass_name, 0.0))
    assert rows["quadtree"].tokens == 64
    assert rows["quadtree"].flops != rows["linear"].flops
    assert rows["quadtree"].median_s > 0


def test_the_command_writes_rows_table_and_pictures(tmp_path, capsys):
    accuracies = tmp_path / "accuracies.json"
    accuracies.write_text('{"quadtree": 70, "linear": 60}')
    words = f"cost --sides 8 16 --channels 32 --heads 2 --topk 4 4 --seconds 0 --out {tmp_path}"
    assert main([*words.split(), "--accuracies", str(accuracies)]) == 0
    assert "materialised" in capsys.readouterr().out
    found = json.loads((tmp_path / "cost.json").read_text())
    assert len(found["rows"]) == 8
    assert found["settings"]["topk"] == [4, 4]
    assert (
        found["environment"]["torch"] == torch.__version__.split("+")[0]
        or "torch" in found["environment"]
    )
    assert (tmp_path / "cost.md").read_text().count("\n") == 10
    for picture in ("cost.png", "accuracy.png"):
        assert (tmp_path / picture).stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mechanisms", "nothing"], "mechanisms of attention are softmax"),
        (["--sides", "0"], "--sides must be 1 or more"),
        (["--what", "matcher", "--mechanisms", "focal"], "mechanisms of matcher are quadtree"),
        (["--accuracies", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_input_is_one_line(words, message, tmp_path, capsys):
    assert main(["cost", *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
