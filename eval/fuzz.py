"""Broken files against every reader, in processes whose time and memory are limited.

A case is a number: seed and number give the kind of file and its damage, so each can be run again. A case
passes when the reader gives something, or refuses with one line that names the file. Everything else is a
fault: another exception, words over several lines, more memory than the bound, a hang, a dead process.
"""

import faulthandler
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

REFUSALS = (ValueError, TypeError, FileNotFoundError)  # exactly these, no sub-classes
MIB = 2**20
STARTING_S = 600.0  # a worker imports torch and makes the valid files first
STATUS = Path("/proc/self/status")  # Linux
CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Limits:
    """What a case may take."""

    seconds: float = 20.0
    memory_mib: int = 1024  # of address space, and so of memory, above what the process had before


@dataclass(frozen=True)
class Fault:
    """A case that did not pass."""

    number: int
    kind: str
    what: str  # one line


@dataclass
class Tally:
    """What came of many cases."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    peak_mib: float = 0.0  # largest growth of resident memory in a case
    slowest_s: float = 0.0

    @property
    def cases(self) -> int:
        """How many were run."""
        return self.read.total() + self.refused.total() + len(self.faults)


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    number: int
    what: str  # "read", "refused", or the fault
    grown_mib: float = 0.0
    seconds: float = 0.0


def run_cases(
    numbers: range, seed: int, workers: int, limits: Limits, keep: Path
) -> Iterator[Tally]:
    """Runs the cases in `workers` processes; gives the same growing tally after each.

    Args:
        numbers: of the cases.
        seed: with the number decides a case.
        workers: processes.
        limits: of each case.
        keep: folder for the files of cases that did not pass.

    Raises:
        RuntimeError: a process does not even start.
    """
    tally = Tally()
    todo = iter(numbers)
    with tempfile.TemporaryDirectory(prefix="quadview-fuzz-") as folder:
        crew = [Worker(Path(folder) / str(n), seed, limits, keep) for n in range(workers)]
        try:
            busy = [worker for worker in crew if worker.take(next(todo, None))]
            while busy:
                for worker in busy:
                    outcome = worker.outcome()
                    if outcome is None:
                        continue
                    _count(tally, outcome)
                    worker.take(next(todo, None))
                    yield tally
                busy = [worker for worker in busy if worker.number is not None]
                wait([worker.pipe for worker in busy], 0.2)
        finally:
            for worker in crew:
                worker.stop()


def kind_of(number: int) -> str:
    """The name of the kind of file of a case."""
    from eval.fuzz_files import KINDS

    return KINDS[number % len(KINDS)].name


def _count(tally: Tally, outcome: Outcome) -> None:
    kind = kind_of(outcome.number)
    if outcome.what == "read":
        tally.read[kind] += 1
    elif outcome.what == "refused":
        tally.refused[kind] += 1
    else:
        tally.faults.append(Fault(outcome.number, kind, outcome.what))
    tally.peak_mib = max(tally.peak_mib, outcome.grown_mib)
    tally.slowest_s = max(tally.slowest_s, outcome.seconds)


class Worker:
    """A process that runs one case at a time, and is replaced when it hangs or dies."""

    def __init__(self, folder: Path, seed: int, limits: Limits, keep: Path) -> None:
        self.number: int | None = None
        self._started = False
        self._settings = folder, seed, limits, keep
        self._start()

    def take(self, number: int | None) -> bool:
        """Begins a case; False where there is none."""
        self.number = number
        if number is not None and self._started:
            self._ask()
        return number is not None

    def outcome(self) -> Outcome | None:
        """What came of the case; None while it runs. A process that hangs or died is replaced."""
        assert self.number is not None
        limit = self._settings[2].seconds if self._started else STARTING_S
        if self.pipe.poll():
            try:
                outcome: Outcome = self.pipe.recv()
            except (EOFError, OSError):
                return self._replaced("the process died", limit)
            if outcome.number >= 0:
                return outcome
            self._started = True
            self._ask()
        elif time.monotonic() - self._since > limit:
            return self._replaced(f"no answer for {limit:g} s", limit)
        return None

    def stop(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _ask(self) -> None:
        self._since = time.monotonic()
        with suppress(OSError):  # it died; the next look at it tells
            self.pipe.send(self.number)

    def _replaced(self, what: str, limit: float) -> Outcome:
        if not self._started:
            raise RuntimeError(f"a fuzzing process did not start: {what}, {limit:g} s")
        assert self.number is not None
        self.process.join(1.0)
        code = self.process.exitcode
        self.stop()
        self._start()
        return Outcome(self.number, what if code is None else f"{what} (exit code {code})")

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, *self._settings), daemon=True)
        self.process.start()
        theirs.close()
        self._started = False
        self._since = time.monotonic()


def work(pipe: Connection, folder: Path, seed: int, limits: Limits, keep: Path) -> None:
    """What a process does: makes the valid files, limits itself, and runs what it is told."""
    from tqdm import tqdm

    from eval.fuzz_files import KINDS

    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore that outlives a killed process
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "stderr").open("w")
    os.dup2(log.fileno(), 2)  # C libraries write there of every broken file
    faulthandler.enable(log)
    valid = {}
    for kind in KINDS:
        path = folder / Path(kind.name).stem / kind.name
        path.parent.mkdir(exist_ok=True)
        kind.make(path)
        verdict(kind.read, path)  # loads what the reader loads lazily
        valid[kind.name] = kind.target(path).read_bytes()
    in_use = _status_kib("VmSize") * 1024
    bound = in_use + limits.memory_mib * MIB
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(Outcome(-1, "ready"))
    while True:
        number = pipe.recv()
        pipe.send(run_case(number, seed, folder, keep, valid))


def run_case(number: int, seed: int, folder: Path, keep: Path, valid: dict[str, bytes]) -> Outcome:
    """One case in this process."""
    from eval.fuzz_damage import damaged
    from eval.fuzz_files import KINDS

    kind = KINDS[number % len(KINDS)]
    path = folder / Path(kind.name).stem / kind.name
    target = kind.target(path)
    broken = damaged(valid[kind.name], np.random.default_rng([seed, number]))
    target.write_bytes(broken)
    kept = keep / f"{number}-{kind.name}"
    kept.write_bytes(broken)  # before the reader, which may take the process with it
    CLEAR_PEAK.write_text("5")
    before, start = _status_kib("VmRSS"), time.monotonic()
    what = verdict(kind.read, path)
    seconds, grown = time.monotonic() - start, _status_kib("VmHWM") - before
    target.write_bytes(valid[kind.name])
    if what in ("read", "refused"):
        kept.unlink()
    return Outcome(number, what, grown / 1024, seconds)


def verdict(read: object, path: Path) -> str:
    """One of "read" and "refused", or in one line what is wrong with how the reader refused."""
    assert callable(read)
    try:
        read(path)
    except Exception as error:  # noqa: BLE001 (any other exception is what is looked for)
        return _of_refusal(error, path.parent.name)
    return "read"


def _of_refusal(error: BaseException, name: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"asked for more memory than the bound: {_one_line(error)}"
        cause = cause.__cause__
    if type(error) not in REFUSALS:
        return _one_line(error)
    if "\n" in str(error) or name not in str(error):
        return f"not one line that names the file: {_one_line(error)}"
    return "refused"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _status_kib(name: str) -> int:
    line = next(row for row in STATUS.read_text().splitlines() if row.startswith(f"{name}:"))
    return int(line.split()[1])
