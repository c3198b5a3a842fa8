"""`python -m matching A B` matches two images; its subcommands do everything else, see COMMANDS."""

import sys
from collections.abc import Sequence

from data_scripts.command_line import run_subcommand

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
    if named:
        return run_subcommand(COMMANDS[words[0]], words[1:])
    return run_subcommand("matching.cli", words)


if __name__ == "__main__":
    sys.exit(main())
