import json

import pytest
import torch

from attention_ops import chunked
from eval import bench_gpu, gpu_networks
from eval.bench_gpu import main
from eval.gpu_ops import COARSE, FINE, _needs
from eval.gpu_timing import timing
from tests.matching.test_exported_network import TINY as TINY_MATCHER
from tests.stereo.tiny import TINY as TINY_STEREO


def run(path, *words):
    return main(["--dry-run", "--out", str(path), *words])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_one_line(capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a CUDA device is wanted" in said


def test_rows_of_the_ops_and_a_second_run_that_has_nothing_to_do(tmp_path, monkeypatch):
    path = tmp_path / "gpu.json"
    assert run(path, "--only", "ceilings", "check", "fine", "coarse") == 0
    found = json.loads(path.read_text())["rows"]
    assert all(row["agrees"] for row in found["check"].values())
    assert any("portable" in name for name in found["check"])
    row = found["fine"]["tiny float32 portable backward"]
    assert row["eager_ms"] > 0
    assert row["roofline"] == pytest.approx(row["floor_ms"] / row["eager_ms"])
    monkeypatch.setattr(bench_gpu, "_attempt", lambda _job: pytest.fail("done already"))
    assert run(path, "--only", "ceilings", "check", "fine", "coarse") == 0
    assert json.loads(path.read_text())["rows"] == found


def test_a_row_that_breaks_costs_only_itself_and_is_tried_again(tmp_path, monkeypatch):
    path, right = tmp_path / "gpu.json", chunked.coarse_backward
    monkeypatch.setattr(chunked, "coarse_backward", lambda *_: 1 / 0)
    run(path, "--only", "coarse")
    rows = json.loads(path.read_text())["rows"]["coarse"]
    broken = {name for name, row in rows.items() if "failed" in row}
    assert broken == {f"tiny {dtype} portable backward" for dtype in ("float32", "bfloat16")}
    monkeypatch.setattr(chunked, "coarse_backward", right)
    run(path, "--only", "coarse")
    rows = json.loads(path.read_text())["rows"]["coarse"]
    assert not any("failed" in row for row in rows.values())


def test_a_kernel_that_disagrees_gives_exit_code_1(tmp_path, monkeypatch):
    right = chunked.fine_forward
    monkeypatch.setattr(chunked, "fine_forward", lambda *x: (right(*x)[0] + 1, *right(*x)[1:]))
    assert run(tmp_path / "gpu.json", "--only", "check") == 1


def test_out_of_minutes_it_says_what_is_left(tmp_path, capsys):
    assert run(tmp_path / "gpu.json", "--only", "coarse", "--minutes", "0") == 0
    assert "rows are left after 0.0 minutes: run it again" in capsys.readouterr().out


def test_a_file_of_something_else_is_refused(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    path.write_text("[1]")
    assert run(path, "--only", "coarse") == 2
    assert "wanted rows of an earlier run, got other JSON" in capsys.readouterr().err


@pytest.mark.slow
def test_modules_and_networks_run_on_every_path(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_networks, "MATCHERS", {"small": TINY_MATCHER})
    monkeypatch.setattr(gpu_networks, "STEREO_NETWORKS", {"small": TINY_STEREO})
    path = tmp_path / "gpu.json"
    assert run(path, "--only", "module", "networks", "sanitizer") == 0
    found = json.loads(path.read_text())["rows"]
    rows = {**found["module"], **found["networks"]}
    assert not [name for name, row in rows.items() if "failed" in row]
    assert {name.split()[0] for name in found["networks"]} == {"matcher", "stereo"}


def test_needs_of_the_cases_by_hand():
    # 80 x 60 tokens, 8 heads, 64 candidates of 32 channels: 2 products of 2 * 4800 * 8 * 64 * 32
    flops, moved = _needs(FINE["S-fine, 80 x 60"], 4, "forward")
    assert flops == 2 * 2 * 4800 * 8 * 64 * 32
    # query, key, value and message; lse; 16 parents of 1200 in every head
    assert moved == 4 * (4 * 4800 * 8 * 32 + 4800 * 8 + 1200 * 8 * 16)
    assert _needs(COARSE["M, 36 x 36"], 2, "backward")[0] == 5 * 2 * 1296 * 8 * 1296 * 32


def test_times_of_a_call_on_a_cpu():
    found = timing(lambda: torch.ones(3).sum(), "cpu", 5)
    assert found.eager_ms > 0
    assert found.graph_ms is None
