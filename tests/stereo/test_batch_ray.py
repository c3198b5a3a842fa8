import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stereo import __main__ as command
from tests.ray_kills import batch_with_kills, needs_ray


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Seven shifted pairs of two sizes; one right image is none, and one has another size."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    scene = cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)
    for n in range(7):
        rows = slice(4 * n, 4 * n + (48, 64)[n % 2])
        for side, first in (("left", 0), ("right", 5)):
            (tmp_path / side / "a").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"{side}/a/{n}.png", scene[rows, first + n : first + n + 96])
    Path("right/a/2.png").write_bytes(b"no picture")
    cv2.imwrite("right/a/5.png", scene[:30, :40])
    return tmp_path


def words(out, *more):
    return [
        "batch",
        "--left",
        "left",
        "--right",
        "right",
        "--dtype",
        "float32",
        "--out",
        out,
        *more,
    ]


def contents(out):
    files = sorted(path for path in Path(out).rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
@needs_ray
def test_a_cluster_whose_actors_die_leaves_the_files_of_a_local_run(folder):
    assert torch.get_num_threads() == 1
    assert command.main(words("local", "--format", "h5")) == 0
    more = ["--format", "h5", "--engine", "ray", "--actors", "2"]
    batch_with_kills("stereo.batch_ray.PairPredictor", folder, words("ray", *more))
    assert contents("ray") == contents("local")
    failures = Path("ray/failures.csv").read_text()
    assert failures.count("a/2,") == failures.count("a/5,") == 1
    assert len(list(Path("ray/disparities/a").iterdir())) == 5


def test_what_is_done_needs_no_cluster_and_the_rest_does(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("2", "5"):
        Path(f"left/a/{name}.png").unlink()
    assert command.main(words("run", "--long-side", "48")) == 0
    before = contents("run")
    assert command.main(words("run", "--long-side", "48", "--engine", "ray")) == 0
    assert contents("run") == before
    Path("run/disparities/a/3.pfm").unlink()
    capsys.readouterr()
    assert command.main(words("run", "--long-side", "48", "--engine", "ray")) == 2
    assert "install it with pip install 'quadview[ray]'" in capsys.readouterr().err
