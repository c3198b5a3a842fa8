"""`python -m attention_ops.triton_kernels.aot`: compiles every kernel without a GPU and prints what
it takes: registers and spills of a thread, shared memory and instructions of a program.

The interpreter accepts kernels that the compiler refuses, and only the compiler knows of spills.
All of them take hours: `--record` keeps what was compiled, so that the next run goes on from there.
"""

import argparse
import hashlib
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import triton
from tqdm import tqdm
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.errors import TritonError

from attention_ops.command import run_main
from attention_ops.triton_kernels import aot_record
from attention_ops.triton_kernels.aot_cases import LEVELS, Case, all_cases

ARCHS = (80, 90, 100)
DTYPES = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes
ELEMENTS = {"query", "key", "value", "message", "grad_message", "grad"}
ELEMENTS |= {"grad_query", "grad_key", "grad_value"}
TYPES: dict[str, Any] = {"parent_index": "*i32", "index": "*i32", "scratch": "*i32"}
TYPES |= {"bits": "*i32", "before": "*i32", "entry": "*i64", "first": "*i64"}
TYPES |= {"corner_token": "*i32", "order": "*i64", "start": "*i64"}
TYPES |= {"key_mask": "*u8", "scale": "fp32", "sizes": ("fp32",) * (2 * LEVELS)}
TYPES |= dict.fromkeys(["P", "R", "M", "L", "S", "Q", "rows", "words", "points"], "i32")
SUMS = {"sample_backward": {"grad_value"}, "sum_lists": {"grad_value"}}  # float32 in these
TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
INSTRUCTION_BYTES = 16


@dataclass(frozen=True)
class Usage:
    """What the assembler made of a kernel."""

    registers: int
    spill_bytes: int
    shared_bytes: int
    instructions: int


@dataclass(frozen=True)
class Job:
    """A case for one dtype and architecture, ready for the compiler."""

    case: Case
    dtype: str
    arch: int
    source: Any
    options: dict[str, Any]

    @property
    def key(self) -> str:
        """Names everything that the outcome depends on: source, types, constants, compiler."""
        parts = (self.source.hash(), self.arch, sorted(self.options.items()), triton.__version__)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def job(case: Case, dtype: str, arch: int) -> Job:
    """The job of a case, with pointers that are multiples of 16 bytes as torch gives them."""
    options = {name: case.settings[name] for name in OPTIONS if name in case.settings}
    constants = {name: x for name, x in case.settings.items() if name not in OPTIONS}
    elements = ELEMENTS - SUMS.get(case.kernel.__name__, set())
    signature, attributes = {}, {}
    for place, parameter in enumerate(case.kernel.params):
        name = parameter.name
        if name in case.absent:
            constants[name] = None
        known = f"*{dtype}" if name in elements else TYPES.get(name, "*fp32")
        signature[name] = "constexpr" if name in constants else known
        if signature[name][0] == "*":
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(case.kernel, signature, constants, attributes)
    return Job(case, dtype, arch, source, options)


def compiled(work: Job) -> Any:
    """What the compiler makes of a job; Triton keeps it in a cache of its own."""
    target = GPUTarget("cuda", work.arch, 32)
    return triton.compile(work.source, target=target, options=work.options)


def usage(kernel: Any) -> Usage:
    """Registers, spills, shared memory and instructions of a compiled kernel."""
    cubin = kernel.asm["cubin"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(TOOL), "-res-usage", str(path)]
        resources = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", resources)
    if found is None:
        raise RuntimeError(f"cuobjdump -res-usage gave no registers but: {resources.strip()[:200]}")
    count = _code_bytes(cubin) // INSTRUCTION_BYTES
    return Usage(int(found[1]), int(found[2]), kernel.metadata.shared, count)


def _code_bytes(cubin: bytes) -> int:
    """Bytes of machine code in an object file of ELF-64: its sections .text.<kernel>."""
    (headers,), (size, count, names) = (
        struct.unpack_from("<Q", cubin, 0x28),
        struct.unpack_from("<HHH", cubin, 0x3A),
    )
    sections = [
        struct.unpack_from(
            "<IIQQQQ", cubin, headers + i * size
        )  # name, type, flags, at, where, size
        for i in range(count)
    ]
    names_at = sections[names][4]
    return sum(x[5] for x in sections if cubin.startswith(b".text.", names_at + x[0]))


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """What the command line asks for."""
    for dtype in args.dtype:
        for case in all_cases(DTYPES[dtype]):
            if args.only.search(case.name) and (
                args.channels is None or case.channels in args.channels
            ):
                for arch in args.arch:
                    yield job(case, dtype, arch)


def run(work: Job) -> aot_record.Row:
    """Compiles a job.

    Raises:
        TritonError, RuntimeError: it does not compile.
    """
    took = usage(compiled(work))
    case = work.case
    warps = case.settings["num_warps"]
    labels = (work.key, case.name, case.kernel.__name__, work.dtype, case.channels, work.arch)
    return aot_record.Row(*labels, warps=warps, **vars(took))


def main(argv: Sequence[str] | None = None, write: Callable[[str], object] = print) -> int:
    """Prints a table; 1 when a kernel does not compile, 2 when nothing can be compiled."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not TOOL.exists():
        sys.stderr.write(f"{parser.prog}: needs {TOOL}: install Triton's Linux wheel\n")
        return 2
    try:
        known = aot_record.read(args.record) if args.record else {}
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    wanted = list(jobs(args))
    open_jobs = [work for work in wanted if work.key not in known]
    write(
        f"Triton {triton.__version__}: {len(wanted)} kernels, {len(wanted) - len(open_jobs)} known"
    )
    failed, stop = [], time.monotonic() + 60 * args.minutes
    for work in () if args.summary else tqdm(open_jobs, unit="kernel", disable=None):
        if time.monotonic() > stop:
            write(f"out of time: {args.minutes:g} minutes")
            break
        if work.key in known:  # the same settings under another label
            continue
        try:
            known[work.key] = run(work)
        except (TritonError, RuntimeError) as error:
            failed.append(f"{work.case.name} {work.dtype} sm_{work.arch}: {str(error)[:200]!r}")
            continue
        if args.record:
            aot_record.append(args.record, known[work.key])
    rows = [
        replace(known[work.key], case=work.case.name, dtype=work.dtype)
        for work in wanted
        if work.key in known
    ]
    table = aot_record.summary(rows, args.arch) if args.summary else aot_record.listing(rows)
    for line in [*table, *(f"failed: {line}" for line in failed)]:
        write(line)
    return 1 if failed else 0


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_ops.triton_kernels.aot", description=__doc__
    )
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHS), help="80, 90, ...")
    parser.add_argument("--dtype", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--channels", type=int, nargs="+", help="D: 16, 32, ... (default: all)")
    parser.add_argument(
        "--only", type=_pattern, default="", help="regular expression that is in the label"
    )
    parser.add_argument("--record", type=Path, help="file to go on from, and to add to")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--summary", action="store_true", help="compile nothing: the worst of what --record holds"
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_main(main))
