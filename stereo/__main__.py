"""`python -m stereo LEFT RIGHT` gives the disparity of a pair; `train` trains, `bench` measures costs.

Further subcommands are in COMMANDS.
"""

import sys
from collections.abc import Sequence

from data_scripts.command_line import run_subcommand

# Each module has parse(words) and run(command), which gives the lines to print.
COMMANDS = {
    "batch": "stereo.batch",
    "convert": "stereo.convert",
    "export": "stereo.network_export",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (sys.argv without the program by default); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:
        from stereo import train

        return train.main(words[1:])
    if words[:1] == ["bench"]:
        from stereo import bench

        return bench.main(words[1:])
    named = words[:1] and words[0] in COMMANDS
    if named:
        return run_subcommand(COMMANDS[words[0]], words[1:])
    return run_subcommand("stereo.cli", words)


if __name__ == "__main__":
    sys.exit(main())
