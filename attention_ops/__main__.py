"""`python -m attention_ops`: which backends are here and why not the others; `build` makes one."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from attention_ops.backends import backends, current_backend


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the backends, or builds the native one; returns the exit code."""
    args = parse_args(argv)
    if args.command == "build":
        build = importlib.import_module("attention_ops.build")  # only here: it runs a compiler
        return int(build.main(["--force"] if args.force else []))
    for name, state in backends().items():
        used = " (in use)" if name == current_backend() else ""
        print(f"{name:10s} {state}{used}")
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: nothing, or `build [--force]`."""
    parser = argparse.ArgumentParser(prog="python -m attention_ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="[build]")
    build = commands.add_parser("build", help="compile the native backend for this machine")
    build.add_argument("--force", action="store_true", help="compile again what is there already")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
