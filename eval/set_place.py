"""Where a benchmark finds its set, what makes a list of pairs sound, and what a set says it lacks."""

from collections.abc import Sequence
from pathlib import Path

from data_scripts.dataset import open_dataset

SUFFIXES = (".h5", ".hdf5")  # of a set that `python -m data_scripts` has converted


def is_converted(place: Path) -> bool:
    """Whether the place of a data set is a converted file."""
    return place.suffix.lower() in SUFFIXES


def find_set(data: Path, folder: str, *, anywhere: bool) -> Path:
    """The folder (or converted file) of a set: `data` itself, or what it holds.

    Args:
        data: as the user names it.
        folder: where the set lies in the folder that holds all sets.
        anywhere: whether `data` may be the set itself.

    Raises:
        FileNotFoundError: the set is not there.
    """
    inside = data / folder
    if folder and inside.is_dir():
        return inside
    if anywhere and data.exists():
        return data
    wanted = inside if data.is_dir() or not anywhere else data
    raise FileNotFoundError(
        f"{wanted}: no such folder; --data must name the folder that holds {folder or 'it'}"
    )


def check_names(place: Path, names: Sequence[str]) -> None:
    """Raises ValueError unless there is a pair, and no two have the same name."""
    if not names:
        raise ValueError(f"{place}: wanted at least one pair, got none")
    if len(set(names)) < len(names):
        raise ValueError(f"{place}: two pairs have the same name")


def lacks(place: Path) -> tuple[str, ...]:
    """What was missing or could not be read when a set was converted, a line each; () of a folder."""
    if not is_converted(place):
        return ()
    with open_dataset(place) as data:
        lines = data.info.missing.splitlines()
        if data.skipped:
            lines.append(f"files left out: {len(data.skipped)}, first {data.skipped[0]}")
    return tuple(lines)


def lacks_note(name: str, lines: Sequence[str]) -> list[str]:
    """What stands below the numbers of the benchmark `name`: one line, none where nothing is missing."""
    return [f"{name}: the set is not whole: {'; '.join(lines)}."] if lines else []
