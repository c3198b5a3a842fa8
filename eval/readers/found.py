"""What every reader says when files are missing: which, how many, and where they come from."""

from collections.abc import Sequence
from pathlib import Path

from eval.image_source import ImageSource


def first_folder(folder: Path, below: Sequence[str], name: str, where_from: str) -> Path:
    """The first of the folders `below` that holds a file of that name.

    Raises:
        FileNotFoundError: none does.
    """
    for each in below:
        if (folder / each / name).is_file():
            return folder / each
    raise FileNotFoundError(f"{folder}: wanted {name}, found none; it comes with {where_from}")


def found_all(sources: Sequence[ImageSource], where_from: str) -> None:
    """Checks that every image file is there.

    Raises:
        FileNotFoundError: some are not; names the first.
    """
    paths = [source for source in sources if isinstance(source, Path)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}: no such file, and {len(missing) - 1} more of {len(paths)} are missing; "
            f"they come with {where_from}"
        )
