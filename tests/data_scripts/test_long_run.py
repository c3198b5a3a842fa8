import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_scripts.long_run import locked, open_run, progress_bar, write_csv, write_json

PLAN = {"pairs": 3, "sizes": (4, 5), "out": None}


def test_a_run_begins_in_a_new_folder_and_the_same_plan_takes_it_up(tmp_path):
    out = tmp_path / "new/run"
    open_run(out, PLAN)
    assert json.loads((out / "plan.json").read_text()) == PLAN | {"sizes": [4, 5]}
    (out / "result").touch()
    open_run(out, PLAN)
    assert (out / "result").exists()


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (PLAN | {"pairs": 4}, "the run there is another one \\(pairs 3 instead of 4\\); choose"),
        ({"pairs": 3, "sizes": (4, 5)}, "another one \\(more settings\\)"),
    ],
)
def test_another_plan_is_refused(tmp_path, plan, said):
    open_run(tmp_path, PLAN)
    with pytest.raises(ValueError, match=said):
        open_run(tmp_path, plan)


@pytest.mark.parametrize("text", ["", "[1", "[1]"])
def test_a_plan_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match="or delete that folder"):
        open_run(tmp_path, PLAN)


def test_a_folder_with_anything_but_a_lock_is_not_written_to(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="wanted an empty folder"):
        open_run(tmp_path, PLAN)
    (tmp_path / "mine").unlink()
    open_run(tmp_path, PLAN)


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".plan.123.json").touch()  # killed before the plan had its name
    open_run(tmp_path, PLAN)
    (tmp_path / "shards").mkdir()
    kept, left = tmp_path / "shards/0.h5", tmp_path / "shards/.0.123.h5"
    kept.touch()
    left.touch()
    open_run(tmp_path, PLAN)
    assert (kept.exists(), left.exists()) == (True, False)


def test_tables_and_json_read_back_as_they_were_written(tmp_path):
    rows = [["a, b.png", 'said "no"'], ["c", ""]]
    write_csv(tmp_path / "t.csv", ("pair", "error"), rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["pair", "error"], *rows]
    write_json(tmp_path / "t.json", {"pairs": 2})
    assert (tmp_path / "t.json").read_text() == '{\n  "pairs": 2\n}\n'


def test_a_bar_goes_on_from_what_is_done(capsys):
    with progress_bar(4, 3, "pair") as bar:
        bar.update()
    assert "4/4" in capsys.readouterr().err


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with locked(tmp_path / "new"), pytest.raises(ValueError, match="new: another process"):
        locked(tmp_path / "new").__enter__()
    with locked(tmp_path / "new"):
        pass


def test_another_folder_does_not_matter(tmp_path):
    with locked(tmp_path / "one"), locked(tmp_path / "two"):
        pass


HOLDER = """
import os, sys, time
from pathlib import Path
from data_scripts.long_run import locked

with locked(Path("out")):
    if os.fork() == 0:  # outlives its parent, as the workers of a loader do for a while
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="wants a system that forks")
def test_a_killed_run_is_no_obstacle_even_while_its_workers_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, root = [sys.executable, "-c", HOLDER], str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(ValueError, match="out: another process is at work there"):
                locked(Path("out")).__enter__()
            holder.kill()
            holder.wait()
            os.kill(child, 0)  # it lives
            with locked(Path("out")):
                pass
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="fcntl is of POSIX")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_a_run_goes_on_with_a_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        assert "its file system has no locks" in caplog.text
