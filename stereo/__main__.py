"""`python -m stereo LEFT RIGHT` gives the disparity of a pair; `train` trains, `bench` measures costs."""

import sys
from collections.abc import Sequence

FAILED = 2  # exit code for anything that the user can mend


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in `argv` (sys.argv without the program by default); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["train"]:
        from stereo import train

        return train.main(words[1:])
    if words[:1] == ["bench"]:
        from stereo import bench

        return bench.main(words[1:])
    from stereo import cli

    try:
        print(cli.run(cli.parse(words)))
    except (ValueError, TypeError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
