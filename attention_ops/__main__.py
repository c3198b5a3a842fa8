"""`python -m attention_ops`: which backends are here and why not the others.

`build` compiles the native one, `bench` measures it against others, `bench-rows` along rows.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from attention_ops.backends import backends, current_backend

COMMANDS = {
    "build": "attention_ops.build",
    "bench": "attention_ops.bench",
    "bench-rows": "attention_ops.bench_rows",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the backends, or runs a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        # imported only here: one runs a compiler, the other much else
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    parse_args(words)
    for name, state in backends().items():
        used = " (in use)" if name == current_backend() else ""
        print(f"{name:10s} {state}{used}")
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line without a command; a command reads the rest itself."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="[build | bench | bench-rows]")
    commands.add_parser("build", help="compile the native backend for this machine")
    commands.add_parser("bench", help="time and memory of the ops as ratios")
    commands.add_parser("bench-rows", help="the same of attention along rows")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
