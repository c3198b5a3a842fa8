import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from eval.benchmarks import BENCHMARKS
from eval.report import markdown_table, text_tables, write_results
from eval.runner import Result
from eval.scores import PairScore, summarise


def result():
    benchmark = BENCHMARKS["strecha"]
    scores = (
        PairScore("a", (4.0,), (0.5, 0.2), 10, 1.0),
        PairScore("b", (np.inf,), (0.0, 0.0), 0, 3.0, failure="0 matches"),
    )
    summary = summarise(scores, benchmark.thresholds, benchmark.unit)
    estimator = benchmark.estimators[0]
    return Result(benchmark, "sift", "sift 1", estimator, summary, scores, (), Path("none"))


def test_the_protocol_stands_beside_the_numbers():
    console = Console(width=160, record=True, file=io.StringIO())
    for table in text_tables([result()]):
        console.print(table)
    for text in (console.export_text(), markdown_table([result()])):
        assert "MAGSAC 1 px" in text
        assert (
            "@5/10/20 deg: 30.0 / 40.0 / 45.0" in text
        )  # (1 + 0.5 * (T - 4)) / T for one pair of two
        assert "1 of 2" in text
        assert "strecha, sift: first failure b: 0 matches." in text
        assert "long side 800" in text


def test_results_hold_every_score_and_setting(tmp_path):
    path = tmp_path / "results.json"
    write_results([result()], path)
    document = json.loads(path.read_text())
    (found,) = document["results"]
    assert found["estimator"]["threshold_px"] == 1
    assert [score["errors"] for score in found["scores"]] == [[4.0], [None]]
    assert found["deviation"]["5"] is None
    assert {"torch", "machine", "commit"} <= set(document["environment"])


def test_published_numbers_stand_below_ours_with_their_source():
    scannet = replace(result(), benchmark=BENCHMARKS["scannet1500"])
    text = markdown_table([scannet])
    assert text.index("| scannet1500 | sift |") < text.index("QuadTree-B, K = 16 (published)")
    assert "24.9 / 44.7 / 61.8" in text
    assert "Published: QuadTree Attention, Tang et al. 2022, repository." in text
    assert "from memory, not checked" in text
