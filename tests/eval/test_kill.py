"""A run that is killed with SIGKILL, wherever that hits, goes on and counts every pair once."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

from eval.__main__ import main

PAIRS = 6
FUNCTION = """
import time
from pathlib import Path

import numpy as np

SLOW = Path(__file__).with_name("slow")
CALLS = Path(__file__).with_name("calls")


def match(image0, image1):
    with CALLS.open("a") as file:
        file.write("call\\n")
    if SLOW.exists():
        time.sleep(0.4)
    kpts = np.random.default_rng(0).uniform(0, 60, (40, 2))
    return kpts, kpts + 3.0
"""


@pytest.fixture
def place(tmp_path):
    rows = []
    for n in range(PAIRS):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((64, 80, 3), n, np.uint8))
        H_0to1 = [[1, 0, 3], [0, 1, 3], [0, 0, 1]]
        rows.append({"image0": f"{n}.png", "image1": f"{n}.png", "H_0to1": H_0to1})
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    (tmp_path / "theirs.py").write_text(FUNCTION)
    (tmp_path / "slow").touch()
    return tmp_path


def command(place):
    words = ["homography", "--method", "theirs:match", "--data", str(place), "--repeats", "2"]
    return [sys.executable, "-m", "eval", *words, "--out", str(place / "out"), "--no-pictures"]


def environment(place):
    return os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{os.getcwd()}"}  # noqa: PTH109


def wait_for(path, process):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_counts_every_pair_once(place, monkeypatch):
    folder = place / "out/homography/theirs.match"
    process = subprocess.Popen(
        command(place), stderr=subprocess.PIPE, text=True, env=environment(place)
    )
    with process:
        wait_for(folder / "predictions.parts/000001.h5", process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "predictions.h5").exists()
    done = len(list((folder / "predictions.parts").glob("[0-9]*.h5")))
    before = (place / "calls").read_text().count("call")
    (place / "slow").unlink()
    monkeypatch.syspath_prepend(place)
    assert main(command(place)[3:]) == 0
    # the pair that the kill hit is matched again, no other one
    assert (place / "calls").read_text().count("call") - before == PAIRS - done
    (result, *_) = json.loads((folder / "results.json").read_text())["results"]
    assert result["pairs"] == PAIRS
    assert result["auc"]["5"] == pytest.approx(1, abs=1e-6)
    with h5py.File(folder / "predictions.h5") as file:
        assert [file[str(n)].attrs["name"] for n in range(PAIRS)] == [
            f"{n}--{n}" for n in range(PAIRS)
        ]
    # killed while scoring: what is scored is kept
    lines = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(lines[:4]) + lines[4][:20])
    assert main(command(place)[3:]) == 0
    lines = (folder / "scores.jsonl").read_text().splitlines()
    keys = [json.loads(line).get("key") for line in lines]
    assert sorted(keys[1:]) == [str(n) for n in range(PAIRS)]
