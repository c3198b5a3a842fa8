from types import SimpleNamespace

import pytest

from data_scripts.command_line import (
    FAILED,
    STOPPED,
    check_counts,
    run_command,
    run_subcommand,
)

MODULE = """
import sys

def parse(words):
    return words

def run(words):
    if words == ["stop"]:
        raise KeyboardInterrupt
    if words == ["fail"]:
        raise ValueError("wanted a word,\\n  got another")
    return " ".join(words)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "a_command.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "a_command"


def raising(error):
    raise error


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_code_of_the_work_is_that_of_the_command(code):
    assert run_command("prog", lambda: code) == code


def test_work_that_gives_no_code_has_gone_well():
    assert run_command("prog", lambda: None) == 0


@pytest.mark.parametrize("kind", [ValueError, TypeError, FileNotFoundError, RuntimeError])
def test_what_the_user_can_mend_is_one_line(kind, capsys):
    assert run_command("python -m x", lambda: raising(kind("no\n such  file"))) == FAILED == 2
    assert capsys.readouterr().err == "python -m x: no such file\n"


def test_a_path_that_the_system_refuses_is_told_with_what_to_do(tmp_path, capsys):
    place = tmp_path / "there"
    place.touch()
    assert run_command("x", lambda: place.mkdir()) == FAILED
    assert run_command("x", lambda: (place / "below").mkdir()) == FAILED
    assert run_command("x", lambda: raising(OSError(28, "No space left", "a.h5"))) == FAILED
    assert capsys.readouterr().err.splitlines() == [
        f"x: {place}: File exists; a folder is wanted there; choose another name",
        f"x: {place / 'below'}: Not a directory; a folder is wanted there; choose another path",
        "x: a.h5: No space left",
    ]


def test_ctrl_c_is_one_line(capsys):
    assert run_command("x", lambda: raising(KeyboardInterrupt), kept="half is kept") == STOPPED
    assert run_command("x", lambda: raising(KeyboardInterrupt("a third is kept"))) == STOPPED
    assert capsys.readouterr().err == "stopped: half is kept\nstopped: a third is kept\n"


def test_any_other_failure_passes_through():
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_command("prog", lambda: raising(RuntimeError("a fault of ours")), (ValueError,))


@pytest.mark.parametrize("capture", ["capsys", "capfd"])
def test_another_pipe_that_breaks_is_told(capture, request):
    capture = request.getfixturevalue(capture)
    assert run_command("prog", lambda: raising(BrokenPipeError("a worker"))) == FAILED
    assert capture.readouterr().err == "prog: a worker\n"


@pytest.mark.parametrize(
    ("word", "code", "out", "err"),
    [
        ("go", 0, "go\n", ""),
        ("fail", FAILED, "", "error: wanted a word, got another\n"),
        ("stop", STOPPED, "", "stopped: nothing was written\n"),
    ],
)
def test_a_subcommand_prints_what_it_gives_or_why_not(module, capsys, word, code, out, err):
    assert run_subcommand(module, [word]) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == (out, err)


def test_counts_below_one_are_told_by_the_name_of_their_option():
    options = SimpleNamespace(pairs=1, shard_images=0, limit=None)
    check_counts(options, "pairs", "limit")
    with pytest.raises(ValueError, match="--shard-images must be 1 or more, got 0"):
        check_counts(options, "pairs", "shard_images")
