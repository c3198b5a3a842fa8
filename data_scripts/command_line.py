"""How a command ends: what it gave, or one line on what its user can mend; and its exit code."""

import os
import select
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

FAILED = 2  # exit code for anything that the user can mend
STOPPED = 130  # exit code after Ctrl-C, as shells have it
NO_READER = 141  # exit code where nobody reads the output any more (`| head`), as shells have it
MENDABLE = (ValueError, TypeError, OSError, RuntimeError)
# What to do where the system refuses a path; the system says no more than what it met.
REMEDIES = {
    FileExistsError: "a folder is wanted there; choose another name",
    FileNotFoundError: "check the path",
    IsADirectoryError: "a file is wanted there; name one",
    NotADirectoryError: "a folder is wanted there; choose another path",
    PermissionError: "choose another path, or change its rights",
}


def run_command(
    prog: str,
    work: Callable[[], int | None],
    mendable: tuple[type[Exception], ...] = MENDABLE,
    kept: str = "all files are whole; give the command again",
) -> int:
    """Calls `work`; its exit code, 0 where it gives none, FAILED where the user can mend what it raised.

    Where the reader of the output is gone, the command ends quietly with NO_READER. After Ctrl-C it ends
    with STOPPED and one line.

    Args:
        prog: what the line on the failure begins with.
        work: does all that the command is for, and prints it.
        mendable: failures that are told in one line; any other one passes through.
        kept: what the line after Ctrl-C says, where the KeyboardInterrupt says nothing.
    """
    try:
        return _flushed(work)
    except BrokenPipeError as error:
        return NO_READER if _reader_is_gone() else _failed(prog, error)
    except mendable as error:
        return _failed(prog, error)
    except KeyboardInterrupt as stop:
        print("stopped:", str(stop) or kept, file=sys.stderr)
        return STOPPED


def _flushed(work: Callable[[], int | None]) -> int:
    try:
        code = work() or 0
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _failed(prog: str, error: Exception) -> int:
    print(f"{prog}: {' '.join(_told(error).split())}", file=sys.stderr)
    return FAILED


def _told(error: Exception) -> str:
    """The text of an error; of one that the system raised for a path, the path first and what to do."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    remedy = next((text for kind, text in REMEDIES.items() if isinstance(error, kind)), "")
    return f"{os.fsdecode(error.filename)}: {error.strerror}{'; ' if remedy else ''}{remedy}"


def _reader_is_gone() -> bool:
    """Whether standard output is the pipe that broke; then what is still to come goes nowhere."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)  # for errors alone
    except (OSError, ValueError):  # it is no file
        return False
    gone = bool(poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def run_subcommand(module: str, words: Sequence[str]) -> int:
    """Prints what a module gives that has parse(words) and run(command); its exit code as `run_command`.

    After Ctrl-C the code is STOPPED, and the line says what the command has kept.
    """
    command = import_module(module)

    def work() -> None:
        print(command.run(command.parse(words)))

    return run_command("error", work, (ValueError, TypeError, OSError), "nothing was written")


def check_counts(options: object, *names: str) -> None:
    """Raises ValueError where an attribute of `options` is a number below 1; None is left alone."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {value}")
