"""Files that are either whole or not there: written under another name, then renamed."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name in the folder of `path` to write to; renamed to `path` at the end, removed on an error."""
    temporary = path.with_name(f".{path.stem[:100]}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def writable(path: str | Path, suffixes: Sequence[str]) -> Path:
    """`path`, checked before the work whose result it shall hold.

    Raises:
        ValueError: another suffix than `suffixes`, a folder, or a folder that may not be written to.
        FileNotFoundError: the folder to write to is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(
            f"{path}: wanted a file name that ends in {', '.join(suffixes)}, "
            f"got {path.suffix or 'none'!r}; rename the output"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ValueError(f"{path}: wanted a file to write, got a folder; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path}: the folder {path.parent} is read-only; choose another one")
    return path


def keep_apart(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Checks before the work that no file is to be written over one that is read, or twice.

    None stands for a file that is not asked for.

    Raises:
        ValueError: two names lead to the same file; the message tells which.
    """
    taken = {path.resolve(): f"{path} is read" for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise ValueError(f"{path}: wanted another file, but {taken[place]}; rename the output")
        taken[place] = f"{path} is written already"
