import io
import json

import numpy as np
from rich.console import Console

from eval.benchmarks import BENCHMARKS
from eval.report import markdown_table, text_table, write_results
from eval.runner import Result
from eval.scores import PairScore, summarise


def result():
    benchmark = BENCHMARKS["strecha"]
    scores = (PairScore("a", 4.0, 0.5, 10, 1.0), PairScore("b", np.inf, 0.0, 0, 3.0, "0 matches"))
    summary = summarise(scores, benchmark.thresholds)
    return Result(benchmark, "sift", "sift 1", benchmark.estimators[0], summary, scores)


def test_the_protocol_stands_beside_the_numbers():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(text_table([result()]))
    for text in (console.export_text(), markdown_table([result()])):
        assert "MAGSAC 1 px" in text
        assert (
            "@5/10/20 deg: 30.0 / 40.0 / 45.0" in text
        )  # (1 + 0.5 * (T - 4)) / T for one pair of two
        assert "1 of 2" in text
        assert "long side 800 px" in text


def test_results_hold_every_score_and_setting(tmp_path):
    path = tmp_path / "results.json"
    write_results([result()], path)
    document = json.loads(path.read_text())
    (found,) = document["results"]
    assert found["estimator"]["threshold_px"] == 1
    assert [score["error"] for score in found["scores"]] == [4.0, None]
    assert {"torch", "machine", "commit"} <= set(document["environment"])
