import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data_scripts.processes import run_in_processes

ROOT = Path(__file__).parents[2]
# Two jobs that say which process they run in, and then take for ever.
ENDLESS = """
import sys
from data_scripts.processes import run_in_processes
from tests.data_scripts.test_processes import sleep_for_ever

if __name__ == "__main__":
    list(run_in_processes(sleep_for_ever, [sys.argv[1] + "/0", sys.argv[1] + "/1"], 2))
"""


def square(number):
    return number * number


def fail_at_three(number):
    if number == 3:
        raise ValueError("three")
    return number


def die(number):
    os._exit(number)


def sleep_for_ever(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def test_every_job_is_done_once_and_few_are_taken_ahead():
    taken = []
    jobs = (taken.append(n) or n for n in range(20))
    results = run_in_processes(square, jobs, 2)
    first = next(results)
    assert len(taken) <= 5
    assert sorted([first, *results]) == [n * n for n in range(20)]
    assert taken == list(range(20))


def test_an_error_of_a_job_comes_out():
    with pytest.raises(ValueError, match="three"):
        list(run_in_processes(fail_at_three, range(5), 2))


def test_a_process_that_dies_is_told_in_one_line():
    with pytest.raises(RuntimeError, match="run the same command again to go on"):
        list(run_in_processes(die, [7], 2))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(script), str(tmp_path)]
    parent = subprocess.Popen(words, cwd=ROOT, env=environment)
    names = [tmp_path / "0", tmp_path / "1"]
    deadline = time.monotonic() + 120
    while not all(name.exists() and name.read_text() for name in names):
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [psutil.Process(int(name.read_text())) for name in names]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
