"""`python -m stereo LEFT RIGHT` gives the disparity of a pair; `train` trains, `bench` measures costs.

Further subcommands are in COMMANDS.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

FAILED = 2  # exit code for anything that the user can mend
STOPPED = 130  # exit code after Ctrl-C, as shells have it
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
    command = import_module(COMMANDS[words[0]] if named else "stereo.cli")
    try:
        print(command.run(command.parse(words[1:] if named else words)))
    except (ValueError, TypeError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as stop:
        print("stopped:", str(stop) or "nothing was written", file=sys.stderr)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
