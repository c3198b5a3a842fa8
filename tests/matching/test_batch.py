import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from matching import __main__ as command
from matching.feature_store import FeatureStore
from matching.pair_lists import image_names
from matching.predictor import MatchPredictor
from matching.shards import read_results
from tests.command_checks import assert_told_in_one_line
from tests.matching.patch_matcher import PatchMatcher

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
SCENE = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
SIZES = [(96, 128), (96, 128), (80, 112), (97, 121)]


def matcher():
    found = PatchMatcher()
    found.corrected_encoding = True  # of the descriptors; patches have no encoding
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten overlapping images of four sizes, two below a folder, and weights that need no file."""
    monkeypatch.setattr("matching.predictor.load_checkpoint", lambda _: (matcher(), None, {}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images/inner").mkdir(parents=True)
    for n in range(10):
        H, W = SIZES[n % 4]
        name = f"images/{'inner/' if n > 7 else ''}{n:02d}.png"
        cv2.imwrite(name, SCENE[8 * n : 8 * n + H, 16 * (n % 5) : 16 * (n % 5) + W])
    (tmp_path / "w.safetensors").touch()
    return tmp_path


def words(out, *more):
    fixed = ["--images", "images", "--weights", "w.safetensors", "--dtype", "float32"]
    return ["batch", *fixed, "--out", out, *more]


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def failures(out):
    with (out / "failures.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_every_pair_has_the_matches_of_a_single_call(folder, capsys):
    assert command.main(words("run", "--exhaustive", "--shard-pairs", "7")) == 0
    out = capsys.readouterr().out
    results = list(read_results(folder / "run"))
    assert len({(r.image0, r.image1) for r in results}) == len(results) == 45
    predictor = MatchPredictor(matcher(), dtype=torch.float32)
    for result in results[::6]:
        paths = folder / "images" / result.image0, folder / "images" / result.image1
        single = predictor.match(*paths, second_look=0, align=False)
        np.testing.assert_array_equal(result.matches.kpts0, single.kpts0)
        np.testing.assert_array_equal(result.matches.kpts1, single.kpts1)
        assert result.size0 == cv2.imread(str(paths[0])).shape[:2]
    summary = json.loads((folder / "run/summary.json").read_text())
    assert summary["matches"] == sum(len(r.matches) for r in results) > 500
    assert (summary["images"], summary["pairs"], summary["pairs_failed"]) == (10, 45, 0)
    assert "features of 10 images made" in out
    assert failures(folder / "run") == []
    assert not (folder / "run/features").exists()


def test_features_are_made_once_even_when_memory_holds_one_image(folder, capsys):
    assert command.main(words("all", "--exhaustive")) == 0
    assert command.main(words("one", "--exhaustive", "--memory-gb", "0")) == 0
    assert capsys.readouterr().out.count("features of 10 images made") == 2
    for name in ("shards/00000000.h5", "summary.json"):
        assert (folder / "all" / name).read_bytes() == (folder / "one" / name).read_bytes()
    # Without a disk either, features are made again, and the result is the same.
    assert command.main(words("none", "--exhaustive", "--memory-gb", "0", "--disk-gb", "0")) == 0
    assert "features of 10 images" not in capsys.readouterr().out
    assert contents(folder / "none") == contents(folder / "all")


def test_pairs_of_equal_size_run_together_with_the_same_matches(folder):
    assert command.main(words("single", "--exhaustive")) == 0
    assert command.main(words("together", "--exhaustive", "--batch-size", "4")) == 0
    runs = [list(read_results(folder / name)) for name in ("single", "together")]
    for one, other in zip(*runs, strict=True):
        assert (one.image0, one.image1) == (other.image0, other.image1)
        # In another batch a confidence may round elsewhere, and with it the order of equals.
        assert {*map(tuple, one.matches.kpts1.tolist())} == {
            *map(tuple, other.matches.kpts1.tolist())
        }


def test_sequences_and_lists_of_pairs(folder, capsys):
    assert command.main(words("seq", "--sequential", "2")) == 0
    pairs = [(r.image0, r.image1) for r in read_results(folder / "seq")]
    assert len(pairs) == 9 + 8
    assert pairs[:2] == [("00.png", "01.png"), ("00.png", "02.png")]
    Path("pairs.txt").write_text("# two\n01.png 00.png\ninner/08.png 03.png\n01.png 00.png\n")
    assert command.main(words("list", "--pairs", "pairs.txt")) == 0
    pairs = [(r.image0, r.image1) for r in read_results(folder / "list")]
    assert pairs == [("01.png", "00.png"), ("inner/08.png", "03.png")]
    assert "features of 4 images made" in capsys.readouterr().out


def test_bad_images_are_told_once_and_skipped(folder, capsys):
    Path("images/03.png").write_bytes(b"no picture")
    Path("pairs.txt").write_text("00.png 01.png\n03.png 04.png\n04.png gone.png\n03.png 05.png\n")
    assert command.main(words("run", "--pairs", "pairs.txt")) == 0
    assert "1 with" in (out := capsys.readouterr().out)
    assert "3 failed; 2 images could not be read" in out
    rows = failures(folder / "run")
    assert [row[:2] for row in rows] == [["03.png", ""], ["gone.png", ""]]
    assert "wanted" in rows[0][2]
    assert "no such image file" in rows[1][2]
    cv2.imwrite("images/03.png", SCENE[:96, :128])
    assert command.main(words("run", "--pairs", "pairs.txt", "--retry")) == 0
    assert "1 failed; 1 images could not be read" in capsys.readouterr().out


def test_a_run_of_which_every_pair_failed_says_so_with_its_code(folder, capsys):
    Path("pairs.txt").write_text("gone.png 01.png\n00.png lost.png\n")
    assert command.main(words("run", "--pairs", "pairs.txt")) == 2
    assert "all 2 pairs failed" in (told := capsys.readouterr().err)
    assert "failures.csv says why" in told
    assert [row[0] for row in failures(folder / "run")] == ["gone.png", "lost.png"]


def test_images_that_look_alike_are_retrieved(folder, capsys):
    Path("images/00.png").write_bytes(b"no picture")
    assert command.main(words("run", "--retrieve", "2")) == 0
    assert "1 images could not be read" in capsys.readouterr().out
    pairs = [(r.image0, r.image1) for r in read_results(folder / "run")]
    assert 9 <= len(pairs) <= 18
    assert all(one < other for one, other in pairs)
    assert "00.png" not in {name for pair in pairs for name in pair}
    before = contents(folder / "run")
    assert command.main(words("run", "--retrieve", "2")) == 0
    assert contents(folder / "run") == before
    assert "features of 0 images made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pairs", "no.txt"], "no.txt: there is no such list"),
        (["--pairs", "odd.txt"], "odd.txt, line 1: wanted two file names, got 3"),
        (["--pairs", "self.txt"], "self.txt: wanted pairs of two different images"),
        (["--pairs", "odd.json"], "odd.json: pair 0 wants file names"),
        (["--exhaustive", "--images", "none"], "none: there is no such folder"),
        (["--exhaustive", "--images", "empty"], "empty: wanted image files"),
        (["--retrieve", "3", "--images", "one"], "one: wanted two images or more, got a.png alone"),
        (["--exhaustive", "--out", "images"], "images: wanted an empty folder"),
        (["--exhaustive", "--weights", "big"], "big: no such weights"),
        (["--exhaustive", "--memory-gb", "-1"], "memory_gb must be 0 or more"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(folder, capsys, more, said):
    Path("odd.txt").write_text("a.png b.png c.png\n")
    Path("self.txt").write_text("a.png a.png\n")
    Path("odd.json").write_text('[{"image0": 3}]')
    Path("empty").mkdir()
    Path("one").mkdir()
    Path("one/a.png").touch()
    assert_told_in_one_line(command.main, words("run", *more), said, capsys)


def test_a_run_of_other_settings_is_not_continued(folder, capsys):
    assert command.main(words("run", "--sequential", "1")) == 0
    assert command.main(words("run", "--sequential", "1", "--min-confidence", "0.5")) == 2
    assert "min_confidence 0.0 instead of 0.5" in capsys.readouterr().err
    assert command.main(words("run", "--sequential", "2")) == 2
    assert "pairs 9 instead of 17" in capsys.readouterr().err


def test_a_run_of_other_images_of_the_same_names_is_not_continued(folder, capsys):
    assert command.main(words("run", "--sequential", "1")) == 0
    shutil.copytree("images", "others")
    assert command.main(words("run", "--sequential", "1", "--images", "others")) == 2
    assert "the run there is another one (folder " in capsys.readouterr().err


def test_a_broken_shard_is_told(folder, capsys):
    assert command.main(words("run", "--sequential", "1")) == 0
    shard = folder / "run/shards/00000000.h5"
    shard.write_bytes(shard.read_bytes()[:500])
    assert command.main(words("run", "--sequential", "1")) == 2
    assert "wanted a whole shard of matches" in capsys.readouterr().err
    shard.unlink()
    assert command.main(words("run", "--sequential", "1")) == 0


@pytest.mark.parametrize("more", [[], ["--exhaustive", "--sequential", "2"], ["--sequential", "0"]])
def test_wrong_words_exit_with_code_2(folder, more, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words("run", *more))
    assert stopped.value.code == 2


def test_ctrl_c_keeps_what_is_whole_and_says_how_to_go_on(folder, capsys, monkeypatch):
    made = FeatureStore.get
    calls = []

    def interrupted(self, name):
        calls.append(name)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return made(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "get", interrupted)
        assert command.main(words("run", "--exhaustive", "--shard-pairs", "4")) == 130
    assert "stopped: all whole shards are in run" in capsys.readouterr().err
    assert len(list((folder / "run/shards").iterdir())) == 3  # of 14 pairs, 12 are in whole shards
    assert command.main(words("run", "--exhaustive", "--shard-pairs", "4")) == 0
    assert command.main(words("whole", "--exhaustive", "--shard-pairs", "4")) == 0
    assert contents(folder / "run") == contents(folder / "whole")


def kill_and_compare(folder, selection, kills, seed):
    """Runs the command undisturbed and with kills; both must leave the same bytes."""
    Path("images/05.png").write_bytes(b"no picture")
    more = [*selection, "--shard-pairs", "2", "--memory-gb", "0.0001"]
    assert command.main(words("whole", *more)) == 0
    script = ROOT / "tests/matching/batch_kills.py"
    done = subprocess.run(
        [sys.executable, str(script), str(kills), str(seed), *words("killed", *more)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert contents(folder / "killed") == contents(folder / "whole")
    return int(done.stdout)


def test_a_run_killed_a_few_times_ends_with_the_same_bytes(folder):
    assert kill_and_compare(folder, ["--retrieve", "3"], 4, 1) >= 1


@pytest.mark.slow
@pytest.mark.long
def test_a_run_killed_twenty_times_ends_with_the_same_bytes(folder):
    for n in range(10, 24):
        cv2.imwrite(f"images/{n}.png", SCENE[4 * n : 4 * n + 96, 5 * n : 5 * n + 128])
    assert kill_and_compare(folder, ["--exhaustive"], 20, 2) >= 10


def test_names_are_sorted_and_have_slashes(folder):
    names = image_names(Path("images"))
    assert names == tuple(sorted(names))
    assert names[-1] == "inner/09.png"
