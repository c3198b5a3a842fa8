"""What each CUDA kernel takes of a multiprocessor: compiles them and reads what ptxas reports.

Needs nvcc but no GPU: `python -m attention_ops.cuda_resources --architectures 90`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_ops import cuda_build
from attention_ops.command import run_main

_CPP_NAMES = {"f": "float32", "6__half": "float16", "13__nv_bfloat16": "bfloat16"}
_ENTRY = re.compile(
    r"Compiling entry function '_Z8run_bodyI\d+(?P<body>[A-Za-z]+)"
    r"I(?P<type>f|6__half|13__nv_bfloat16)Li(?P<D>\d+)E(?:Li(?P<F>\d+)E)?\S*' for 'sm_(?P<sm>\d+)'"
)
_MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class Resources:
    """What one kernel takes on one architecture."""

    kernel: str
    dtype: str
    channels: int
    fan_out: int  # 1 for the coarse level
    architecture: str  # such as "90"
    registers: int  # of a thread
    stack_bytes: int
    spill_bytes: int  # stores and loads together


def read_report(report: str) -> Iterator[Resources]:
    """The kernels in what `nvcc -Xptxas -v` printed."""
    entry, memory = None, (0, 0, 0)
    for line in report.splitlines():
        if found := _ENTRY.search(line):
            entry = found
        elif found := _MEMORY.search(line):
            memory = (int(found[1]), int(found[2]), int(found[3]))
        elif entry is not None and (found := _REGISTERS.search(line)):
            yield Resources(
                kernel=entry["body"],
                dtype=_CPP_NAMES[entry["type"]],
                channels=int(entry["D"]),
                fan_out=int(entry["F"] or 1),
                architecture=entry["sm"],
                registers=int(found[1]),
                stack_bytes=memory[0],
                spill_bytes=memory[1] + memory[2],
            )
            entry = None


def compile_and_read(
    nvcc: str, work: Path, targets: Sequence[str], channels: int, dtypes: Sequence[str]
) -> list[Resources]:
    """Compiles the kernels of these dtypes for this number of channels into objects in `work`.

    Raises:
        RuntimeError: nvcc failed; the message has its words.
    """
    options = ("-Xptxas=-v", f"-DQV_WIDTH={channels}")
    commands = cuda_build.compile_commands(nvcc, work, targets, options)
    found: list[Resources] = []
    for output, command in commands.items():
        if output.stem in dtypes:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{nvcc} failed with {done.returncode}: {done.stderr}")
            found += read_report(done.stdout + done.stderr)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table, one kernel to a row."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_ops.cuda_resources", description=__doc__
    )
    parser.add_argument("--architectures", default="all", metavar="80,90,...")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--dtypes", nargs="+", default=list(cuda_build.TYPES))
    parser.add_argument(
        "--worst", action="store_true", help="one row for all dtypes and fan-outs of a kernel"
    )
    arguments = parser.parse_args(argv)
    nvcc = cuda_build.find_nvcc()
    if nvcc is None:
        sys.stderr.write("no nvcc found; install the CUDA toolkit, or set NVCC\n")
        return 2
    try:
        targets = cuda_build.architectures(nvcc, arguments.architectures)
        with tempfile.TemporaryDirectory() as work:
            rows = [
                row
                for channels in arguments.channels
                for row in compile_and_read(nvcc, Path(work), targets, channels, arguments.dtypes)
            ]
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    table = worst_table(rows) if arguments.worst else full_table(rows)
    sys.stdout.writelines(f"{line}\n" for line in table)
    return 0


def full_table(rows: Sequence[Resources]) -> Iterator[str]:
    """One kernel to a row."""
    yield "| kernel | dtype | D | F | sm | registers | spilled bytes |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.kernel, row.dtype, row.channels, row.fan_out, row.architecture)
        yield f"| {' | '.join(map(str, (*cells, row.registers, row.spill_bytes)))} |"


def worst_table(rows: Sequence[Resources]) -> Iterator[str]:
    """Registers / spilled bytes, the most of all dtypes and fan-outs: a column an architecture."""
    targets = sorted({row.architecture for row in rows}, key=int)
    yield f"| kernel | D | {' | '.join(f'sm_{target}' for target in targets)} |"
    yield "|---" * (2 + len(targets)) + "|"
    for kernel, channels in sorted({(row.kernel, row.channels) for row in rows}):
        cells = []
        for target in targets:
            named = (kernel, channels, target)
            group = [x for x in rows if (x.kernel, x.channels, x.architecture) == named]
            numbers = [(x.registers, x.spill_bytes) for x in group]
            worst = " / ".join(str(max(column)) for column in zip(*numbers, strict=True))
            cells.append(worst or "not compiled")
        yield f"| {kernel} | {channels} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(run_main(main))
