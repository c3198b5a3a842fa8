"""Commands whose output goes into `| head`."""

import importlib
import os
import sys
from contextlib import contextmanager, redirect_stdout

import pytest

from attention_ops import command
from data_scripts import command_line

ENDS = [command.run_main, lambda work: command_line.run_command("prog", work, (ValueError,))]


@contextmanager
def nobody_reading():
    """Standard output is a pipe that nobody reads; raises where something is left for it in the end."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe, redirect_stdout(pipe):
        yield


def say(flush):
    sys.stdout.write("a line\n")
    if flush:
        sys.stdout.flush()
    return 0


def show_help():
    say(flush=False)
    raise SystemExit(0)


@pytest.mark.parametrize("run", ENDS)
@pytest.mark.parametrize("work", [lambda: say(False), lambda: say(True), show_help])
def test_a_command_that_nobody_reads_ends_quietly(run, work, capfd):
    with nobody_reading():
        code = run(work)
    assert code == command.NO_READER == command_line.NO_READER == 141
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("run", ENDS)
@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_a_command_that_is_read_is_its_own(run, code):
    assert run(lambda: code) == code


@pytest.mark.parametrize(
    "main",
    [
        "matching.train",
        "matching.point_train",
        "stereo.train",
        "eval.demo",
        "eval.readme_picture",
        "eval.rectification",
        "eval.scaling",
        "eval.web_picture",
    ],
)
def test_help_that_nobody_reads_ends_quietly(main, capfd):
    run = importlib.import_module(main).main
    with nobody_reading():
        code = run(["--help"])
    assert code == command_line.NO_READER
    assert capfd.readouterr().err == ""
