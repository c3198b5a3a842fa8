"""`python -m matching A B` matches two images; its subcommands do everything else, see COMMANDS."""

import sys
from collections.abc import Sequence
from importlib import import_module

FAILED = 2  # exit code for anything that the user can mend
STOPPED = 130  # exit code after Ctrl-C, as shells have it
# Each module has parse(words) and run(command), which gives the lines to print.
COMMANDS = {
    "align": "matching.align",
    "batch": "matching.batch",
    "convert": "matching.convert",
    "demo": "eval.web_command",  # the page shows stereo as well, so it lives above both
    "export": "matching.export_command",
    "points": "matching.point_command",
    "recall": "matching.recall",
    "reconstruct": "matching.reconstruction",
    "soak": "matching.soak",
    "stitch": "matching.stitch",
}
# Options that only `points` has: with one of them the name of the subcommand may be left out.
POINT_WORDS = {"--points", "--video"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (sys.argv without the program by default); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:
        from matching import train

        return train.main(words[1:])
    if words[:1] == ["train-points"]:
        from matching import point_train

        return point_train.main(words[1:])
    if words[:1] and words[0] not in COMMANDS and POINT_WORDS & {w.split("=")[0] for w in words}:
        words = ["points", *words]
    named = words[:1] and words[0] in COMMANDS
    command = import_module(COMMANDS[words[0]] if named else "matching.cli")
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
