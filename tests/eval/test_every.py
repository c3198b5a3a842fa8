import json

import cv2
import numpy as np
import pytest

import eval.every
from eval.every import run_every
from eval.passes import RunOptions


def test_what_is_there_is_run_and_what_is_not_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(eval.every, "MATCHERS", ("sift",))
    monkeypatch.setattr(eval.every, "STEREOS", ("sgbm",))
    folder = tmp_path / "homography/oxford"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(127, 60, (20, 24))
    picture = cv2.resize(noise, (240, 200), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    cv2.imwrite(str(folder / "a.png"), picture.astype(np.uint8))
    row = {"image0": "a.png", "image1": "a.png", "H_0to1": np.eye(3).tolist()}
    (folder / "pairs.json").write_text(json.dumps([row]))
    tables = run_every(tmp_path, tmp_path / "out", RunOptions(repeats=2), pictures=False)
    text = (tmp_path / "out/tables.md").read_text()
    assert len(tables) == 1
    assert f"python -m eval homography --method sift --data {folder}" in text
    assert "| homography-oxford | sift | RANSAC 3 px | @1/3/5/10 px: 100.0 " in text
    for name in ("scannet1500", "megadepth1500", "hpatches", "sceneflow", "kitti2015", "eth3d"):
        assert f"python -m eval {name} " in text
    assert text.count("Not run here: ") == 4 + 3 + 6


def test_a_folder_without_any_set_is_told(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="wanted the data of a benchmark, got those of none"
    ):
        run_every(tmp_path / "nothing", tmp_path / "out", RunOptions(), pictures=False)
    assert "Not run here" in (tmp_path / "out" / "tables.md").read_text()
