"""`python -m eval fuzz`: broken files against every reader of strangers' files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from data_scripts.command_line import run_command


@dataclass(frozen=True)
class FuzzCommand:
    """Damage valid files of every kind and see that readers refuse them in one line.

    A crash, a hang, another exception or memory above the bound is a fault; its file is kept. Linux only.
    """

    cases: int = 10_000
    """How many broken files."""
    seed: int = 0
    """With the number of a case decides its damage."""
    first: int = 0
    """Number of the first case; with --cases 1, that case alone again."""
    workers: int = 1
    """Processes."""
    seconds: float = 20.0
    """Time that one file may take."""
    memory_mib: int = 1024
    """Memory that one file may take."""
    out: Path = Path("out/fuzz")
    """Folder for files that made a fault."""

    def __post_init__(self) -> None:
        if min(self.cases, self.workers, self.memory_mib) < 1 or self.seconds <= 0:
            raise ValueError("--cases, --workers, --seconds and --memory-mib must be positive")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0, 1 where there are faults, 2 where it cannot run."""
    return run_command(
        "error", lambda: fuzz(tyro.cli(FuzzCommand, prog="python -m eval fuzz", args=argv))
    )


def fuzz(command: FuzzCommand) -> int:
    """Runs all cases and prints what came of them; 0, or 1 where there are faults."""
    from rich.table import Table
    from tqdm import tqdm

    from eval.console import print_tables
    from eval.fuzz import STATUS, Limits, run_cases

    if not STATUS.is_file():
        raise ValueError(f"wanted {STATUS}, which tells how much memory is in use; run it on Linux")
    command.out.mkdir(parents=True, exist_ok=True)
    numbers = range(command.first, command.first + command.cases)
    limits = Limits(command.seconds, command.memory_mib)
    runs = run_cases(numbers, command.seed, command.workers, limits, command.out)
    *_, tally = tqdm(runs, total=command.cases, unit="file", mininterval=1)
    table = Table("file", "read", "refused", "faults")
    faults = dict.fromkeys(sorted({*tally.read, *tally.refused}), 0)
    for fault in tally.faults:
        faults[fault.kind] = faults.get(fault.kind, 0) + 1
        print(f"fault in case {fault.number}, {fault.kind}: {fault.what}")
    for kind, count in faults.items():
        table.add_row(kind, str(tally.read[kind]), str(tally.refused[kind]), str(count))
    print_tables([table])
    print(
        f"{tally.cases} broken files: {tally.read.total()} read, {tally.refused.total()} refused in one line, "
        f"{len(tally.faults)} faults; at most {tally.peak_mib:.0f} MiB and {tally.slowest_s:.1f} s for one"
    )
    return 1 if tally.faults else 0
