"""`python -m attention_ops.triton_kernels.aot`: compiles every kernel without a GPU and prints what
it takes: registers and spills of a thread, shared memory and instructions of a program.

The interpreter accepts kernels that the compiler refuses, and only the compiler knows of spills.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.errors import TritonError

from attention_ops.triton_kernels import (
    chosen_bits,
    coarse_backward,
    coarse_forward,
    fine_backward,
    fine_backward_by_key,
    fine_forward,
)

ARCHS = (80, 90, 100)
DTYPES = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes
ELEMENTS = {"query", "key", "value", "message", "grad_message"}
ELEMENTS |= {"grad_query", "grad_key", "grad_value"}
TYPES = {"parent_index": "*i32", "index": "*i32", "scratch": "*i32", "bits": "*i32"}
TYPES |= {"before": "*i32", "entry": "*i64", "first": "*i64", "key_mask": "*u8", "scale": "fp32"}
TYPES |= dict.fromkeys(["P", "R", "M", "L", "S", "rows", "words"], "i32")  # the others: *fp32
TOOLS = ("cuobjdump", "nvdisasm")
_TOOL_FOLDER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


@dataclass(frozen=True)
class Case:
    """A kernel with its compile-time constants and launch options, and arguments left out."""

    name: str
    kernel: Any
    settings: dict[str, Any]
    absent: frozenset[str]


@dataclass(frozen=True)
class Usage:
    """What the assembler reports."""

    registers: int
    spill_bytes: int
    shared_bytes: int
    instructions: int


def fine_cases(F: int, D: int, K: int, topk: int, variant: str, size: int) -> Iterator[Case]:
    """Kernels of a fine level: forward, backward with atomic sums, backward with lists."""
    label = f"F{F} D{D} K{K} top{topk} {variant}"
    b = frozenset({"parent_score", "score", "grad_score", "grad_parent_score"})
    left_out = b if variant == "B" else frozenset()
    forward = fine_forward.settings(F, D, K, topk, size)
    yield Case(f"fine_forward {label}", fine_forward.fine_forward, forward, left_out)
    backward = fine_backward.settings(F, D, K, topk, size)
    kernel = fine_backward.fine_backward
    yield Case(f"fine_backward {label}", kernel, backward, left_out | {"delta"})
    sums = {"grad_key_sum", "grad_value_sum"}
    yield Case(f"fine_backward lists {label}", kernel, backward, left_out | sums)
    by_key = fine_backward_by_key.settings(F, D, K, topk)
    kernel = fine_backward_by_key.fine_backward_by_key
    yield Case(f"fine_backward_by_key {label}", kernel, by_key, left_out)


def coarse_cases(L: int, D: int, topk: int, variant: str, size: int) -> Iterator[Case]:
    """Kernels of a coarse level of 8 heads."""
    label = f"L{L} D{D} top{topk} {variant}"
    is_a = {"A": variant == "A"}
    left_out = frozenset() if is_a["A"] else frozenset({"score"})
    forward = coarse_forward.settings(L, D, topk, 8, size) | is_a
    yield Case(f"coarse_forward {label}", coarse_forward.coarse_forward, forward, left_out)
    left_out = frozenset() if is_a["A"] and topk else frozenset({"bits", "before"})
    backward = coarse_backward.settings(D, topk, size)
    yield Case(f"coarse_backward {label}", coarse_backward.coarse_backward, backward, left_out)
    by_key = coarse_backward.settings_by_key(D, topk, size)
    kernel = coarse_backward.coarse_backward_by_key
    yield Case(f"coarse_backward_by_key {label}", kernel, by_key, left_out)


def all_cases(size: int) -> Iterator[Case]:
    """The sizes of ../shared/KERNELS.md, other channels, lines, and the largest taken."""
    for (K, topk), variant in itertools.product([(32, 16), (16, 8), (16, 0), (8, 0)], "AB"):
        yield from fine_cases(4, 32, K, topk, variant, size)
    for D, variant in itertools.product([16, 64, 128, 40], "AB"):
        yield from fine_cases(4, D, 16, 8, variant, size)
    for variant in "AB":
        yield from fine_cases(2, 32, 13, 5, variant, size)
    for L, topk, variant in itertools.product([300, 1296, 5184], [32, 16, 0], "AB"):
        yield from coarse_cases(L, 32, topk, variant, size)
    for D, variant in itertools.product([16, 64, 128, 40], "AB"):
        yield from coarse_cases(1296, D, 16, variant, size)
    settings = chosen_bits.settings(16)
    yield Case("chosen_bits", chosen_bits.chosen_bits, settings, frozenset())


def compile_case(case: Case, dtype: str, arch: int) -> Any:
    """The compiled kernel, with pointers that are multiples of 16 bytes as torch gives them."""
    options = {name: case.settings[name] for name in OPTIONS}
    constants = {name: x for name, x in case.settings.items() if name not in OPTIONS}
    signature, attributes = {}, {}
    for place, parameter in enumerate(case.kernel.params):
        name = parameter.name
        if name in case.absent:
            constants[name] = None
        pointer = f"*{dtype}" if name in ELEMENTS else TYPES.get(name, "*fp32")
        signature[name] = "constexpr" if name in constants else pointer
        if signature[name].startswith("*"):
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(case.kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def usage(compiled: Any) -> Usage:
    """Registers, spills, shared memory and instructions of a compiled kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(compiled.asm["cubin"])
        resources = _tool("cuobjdump", "-res-usage", path)
        code = _tool("nvdisasm", "-c", path)
    found = re.search(r"REG:(\d+) STACK:(\d+)", resources)
    if found is None:
        raise RuntimeError(f"cuobjdump -res-usage gave no registers but: {resources.strip()[:200]}")
    count = len(re.findall(r"^\s+/\*[0-9a-f]{4,5}\*/", code, re.MULTILINE))
    return Usage(int(found[1]), int(found[2]), compiled.metadata.shared, count)


def _tool(name: str, option: str, path: Path) -> str:
    command = [str(_TOOL_FOLDER / name), option, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main(argv: Sequence[str] | None = None, write: Callable[[str], object] = print) -> int:
    """Prints the table; 1 when a kernel does not compile."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops.triton_kernels.aot")
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHS), help="80, 90, ...")
    parser.add_argument("--dtype", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--only", default="", help="kernels whose label contains this")
    args = parser.parse_args(argv)
    missing = [name for name in TOOLS if not (_TOOL_FOLDER / name).exists()]
    if missing:
        wanted = f"needs {' and '.join(missing)} in {_TOOL_FOLDER}: install Triton's Linux wheel"
        sys.stderr.write(f"{parser.prog}: {wanted}\n")
        return 2
    write(
        f"| kernel (Triton {triton.__version__}) | dtype | sm | warps | regs | spill B | smem B | instr |"
    )
    write("|---|---|---|---|---|---|---|---|")
    failed = 0
    for dtype in args.dtype:
        for case in all_cases(DTYPES[dtype]):
            if args.only not in case.name:
                continue
            for arch in args.arch:
                try:
                    took = usage(compile_case(case, dtype, arch))
                except (TritonError, RuntimeError) as error:
                    failed = 1
                    write(f"| {case.name} | {dtype} | {arch} | failed: {str(error)[:200]!r} |")
                    continue
                numbers = [case.settings["num_warps"], *astuple(took)]
                write(" | ".join([f"| {case.name} | {dtype} | {arch}", *map(str, numbers)]) + " |")
    return failed


if __name__ == "__main__":
    sys.exit(main())
