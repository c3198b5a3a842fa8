"""Numbers on the command line, and how a command ends when nobody reads its output any more."""

import argparse
import os
import sys
from collections.abc import Callable

NO_READER = 141  # exit code, as shells have it


def count(text: str) -> int:
    """A number of 1 or more, as a type of argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def run_main(main: Callable[[], int]) -> int | str | None:
    """The exit code of `main`; NO_READER, and not a word, where its output's reader is gone (`| head`)."""
    code: int | str | None
    try:
        try:
            code = main()
        except SystemExit as end:  # after --help
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        # the interpreter flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    return code
