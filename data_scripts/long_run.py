"""What commands over many pairs share: a folder that knows its plan, a list of what failed, a progress bar.

A run that was stopped is taken up by the same command; one of other settings in the same folder is refused.
"""

import csv
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from data_scripts.atomic import write_text

if TYPE_CHECKING:
    from tqdm import tqdm

LOCK = ".lock"  # may lie in a folder that counts as empty
ADVICE = "choose another --out, or delete that folder"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
SECONDS_PER_LINE = 10.0  # of the progress bar where it is no terminal that shows it

logger = logging.getLogger(__name__)
_held: set[IO[str]] = set()  # the open files of the locks of this process


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Only one process at a time works on a run; the system lets go when that ends, even by a kill.

    Where the file system has no locks, this is not checked, and a warning says so.

    Raises:
        ValueError: another process is at it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a") as file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise ValueError(
                    f"{out}: another process is at work there, and a run wants its folder for itself; "
                    "wait for it, or choose another --out"
                ) from error
            logger.warning("%s: its file system has no locks; start no second run there", out)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def _lock(file: IO[str]) -> None:
    """Takes the lock; an OSError where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _leave_to_parent() -> None:
    """Closes the locks in a forked process: one that outlives a killed parent must not hold them."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def open_run(out: Path, plan: Mapping[str, Any]) -> None:
    """Begins a run in the folder `out`, or takes up the one there.

    Args:
        out: made where it is missing; plan.json in it tells the plan.
        plan: JSON-able; everything that decides the result, beside what the images hold.

    Raises:
        ValueError: the folder holds something else, or a run with another plan.
    """
    path = out / "plan.json"
    _remove(out.glob(".plan.[0-9]*.json"))
    plan = json.loads(json.dumps(plan))
    if path.exists():
        _check_plan(path, plan)
    elif out.is_dir() and any(entry.name != LOCK for entry in out.iterdir()):
        raise ValueError(f"{out}: wanted an empty folder, or one of an earlier run; {ADVICE}")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)
    _remove(out.rglob(".*.[0-9]*.*"))


def _remove(leftovers: Iterable[Path]) -> None:
    """Removes what a process left that was killed while it wrote."""
    for path in leftovers:
        path.unlink(missing_ok=True)


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: wanted the plan of a run, got {error}; {ADVICE}") from error
    if before == plan:
        return
    old = before if isinstance(before, dict) else {}
    different = [
        f"{key} {old.get(key)!r} instead of {value!r}"
        for key, value in plan.items()
        if old.get(key) != value
    ]
    raise ValueError(
        f"{path}: the run there is another one ({'; '.join(different[:3]) or 'more settings'}); {ADVICE}"
    )


def write_json(path: Path, value: object) -> None:
    """Writes `value` for people and programs, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table under the names of its columns, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def progress_bar(total: int, done: int, unit: str) -> "Iterator[tqdm[Any]]":
    """A progress bar with rate and time left; where no terminal shows it, a line now and then."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else SECONDS_PER_LINE
    with tqdm(total=total, initial=done, unit=unit, mininterval=interval) as bar:
        yield bar


def check_some_done(out: Path, done: int, failed: int) -> None:
    """Raises ValueError where each of a run's pairs failed; OUT/failures.csv has them."""
    if failed and not done:
        raise ValueError(f"all {failed} pairs failed; {out / 'failures.csv'} says why")
