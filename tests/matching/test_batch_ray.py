import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from matching import __main__ as command
from matching.shards import read_shard
from tests.ray_kills import batch_with_kills, needs_ray


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six overlapping images of two sizes, the last of which is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    scene = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    for n in range(5):
        H, W = ((96, 128), (112, 96))[n % 2]
        cv2.imwrite(f"images/{n}.png", scene[8 * n : 8 * n + H, 16 * n : 16 * n + W])
    (tmp_path / "images/5.png").write_bytes(b"no picture")
    return tmp_path


def words(out, *more):
    fixed = ["--images", "images", "--exhaustive", "--shard-pairs", "2", "--dtype", "float32"]
    return ["batch", *fixed, "--out", out, *more]


def assert_same_results(out, wanted):
    """The same pairs in the same shards, with the same matches to the last bit."""
    files = sorted(path.name for path in (out / "shards").iterdir())
    assert files == sorted(path.name for path in (wanted / "shards").iterdir())
    for file in files:
        pairs = read_shard(out / "shards" / file), read_shard(wanted / "shards" / file)
        for got, want in zip(*pairs, strict=True):
            assert replace(got, matches=None) == replace(want, matches=None)
            for name, values in vars(want.matches).items():
                assert np.array_equal(getattr(got.matches, name), values)


@pytest.mark.slow
@needs_ray
def test_a_cluster_whose_actors_die_leaves_the_shards_of_a_local_run(folder):
    assert torch.get_num_threads() == 1
    assert command.main(words("local")) == 0
    more = ["--engine", "ray", "--actors", "2"]
    batch_with_kills("matching.batch_ray.ShardMatcher", folder, words("ray", *more))
    assert_same_results(folder / "ray", folder / "local")
    for name in ("plan.json", "failures.csv"):
        assert (folder / "ray" / name).read_bytes() == (folder / "local" / name).read_bytes()
    assert not (folder / "ray/features").exists()
    summary = json.loads((folder / "ray/summary.json").read_text())
    assert (summary["pairs"], summary["pairs_failed"], summary["images_failed"]) == (15, 5, 1)
    assert summary["matches"] > 100


def test_without_ray_the_command_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command.main(words("run", "--engine", "ray")) == 2
    assert "install it with pip install 'quadview[ray]'" in capsys.readouterr().err
