import sys

import pytest

from attention_ops.command import NO_READER, run_main
from tests.command_checks import nobody_reading


def say(flush):
    sys.stdout.write("a line\n")
    if flush:
        sys.stdout.flush()
    return 0


@pytest.mark.parametrize("flush", [False, True])
def test_a_command_that_nobody_reads_ends_quietly(capfd, flush):
    with nobody_reading():
        assert run_main(lambda: say(flush)) == NO_READER
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_is_that_of_the_command(code):
    assert run_main(lambda: code) == code


def test_help_that_nobody_reads_ends_quietly():
    def shows_help():
        say(False)
        raise SystemExit(0)

    with nobody_reading():
        assert run_main(shows_help) == NO_READER
