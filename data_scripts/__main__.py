"""`python -m data_scripts COMMAND`: data sets into one HDF5 layout, pairs from depth or photographs, and checks.

Nothing is ever fetched: a command says what is missing and where it comes from.
"""

import sys
from collections.abc import Sequence

from data_scripts.command_line import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (sys.argv without the program by default); returns the exit code."""
    import tyro

    from data_scripts.commands import Command

    words = list(sys.argv[1:] if argv is None else argv)
    if words:  # scannet-sample and scannet_sample alike
        words[0] = words[0].replace("-", "_") if not words[0].startswith("-") else words[0]

    def work() -> int:
        prog = "python -m data_scripts"
        return tyro.cli(Command, args=words, prog=prog, description=__doc__).run()

    return run_command("error", work, kept="run the same command again to go on")


if __name__ == "__main__":
    sys.exit(main())
