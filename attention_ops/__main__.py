"""`python -m attention_ops`: which backends are here, why not the others, and whether they agree.

`build` compiles the native one, `bench` measures it against others, `bench-rows` along rows.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence

import torch

from attention_ops import native, parity
from attention_ops.backends import GPU_MODULES, backends, current_backend
from attention_ops.command import run_main

COMMANDS = {
    "build": "attention_ops.build",
    "bench": "attention_ops.bench",
    "bench-rows": "attention_ops.bench_rows",
}
DTYPES = (torch.float32, torch.bfloat16)
# A GPU backend compiles kernels for each of them at the first run.
GPU_CASES = tuple(case for case in parity.QUICK_CASES if case.fan_out == 4 and case.masked)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints backends and checks, or runs a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        # imported only here: one runs a compiler, the other much else
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    args = parse_args(words)
    states = backends()
    for name, state in states.items():
        _say(f"{name:10s} {state if state == 'ready' else f'not there: {state}'}")
    if refused := native.set_refusal():
        _say(refused)
    for device in ("cpu", "cuda"):
        for dtype in DTYPES:
            _say(f"{_short(dtype):8s} on {device}: {_choice(dtype, device)}")
    if not args.check:
        return 0
    _say("largest error against the reference in float64, as a share of the largest number:")
    all_agree = True
    for line, agrees in _checks(states):
        _say(line)
        all_agree = all_agree and agrees
    return 0 if all_agree else 1


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line without a command; a command reads the rest itself."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops", description=__doc__)
    parser.add_argument("--no-check", dest="check", action="store_false", help="only list them")
    commands = parser.add_subparsers(dest="command", metavar="[build | bench | bench-rows]")
    commands.add_parser("build", help="compile the native backend for this machine")
    commands.add_parser("bench", help="time and memory of the ops as ratios")
    commands.add_parser("bench-rows", help="the same of attention along rows")
    return parser.parse_args(argv)


def _choice(dtype: torch.dtype, device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        return f"no device: torch {torch.__version__} sees none"
    try:
        return current_backend(dtype, device)
    except (RuntimeError, ValueError) as error:  # a forced backend that cannot serve
        return str(error)


def _checks(states: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """A line for every ready backend and dtype, and whether it agrees."""
    for name in states:
        if name == "reference" or states[name] != "ready":
            continue
        on_gpu = name in GPU_MODULES
        device = "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
        for dtype in DTYPES:
            cases = GPU_CASES if on_gpu else parity.QUICK_CASES
            try:
                worst = list(parity.worst_errors(name, dtype, device, cases))
            except Exception as error:  # noqa: BLE001  whatever a compiler says is the verdict
                yield f"{name:10s} {_short(dtype):8s} FAILS: {' '.join(str(error).split())}", False
                continue
            case, output, size = max(worst, key=lambda row: (row[2] != row[2], row[2]))
            agrees = size <= parity.TOLERANCES[dtype]
            verdict = "agrees" if agrees else f"DISAGREES, allowed {parity.TOLERANCES[dtype]:.0e}"
            yield f"{name:10s} {_short(dtype):8s} {size:.1e} {verdict} ({output}; {case})", agrees


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
