"""Many pairs: which of them can run together, and what happens to those that fail."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from matching.matches import FailedPair
from matching.resize import PreparedImage, turned_size

T = TypeVar("T")
FAILURES = (ValueError, TypeError, OSError, RuntimeError, MemoryError)  # of one pair, not of ours


def attempt(make: Callable[[], T], record: bool) -> T | FailedPair:
    """What `make` gives; its failure as a `FailedPair` if that is to be recorded, else raised."""
    try:
        return make()
    except FAILURES as error:
        if not record:
            raise
        return FailedPair(" ".join(str(error).split()) or type(error).__name__)


def equal_groups(
    pairs: Sequence[tuple[PreparedImage, PreparedImage]], multiple: int, batch_size: int
) -> Iterator[list[int]]:
    """Numbers of the pairs, in groups of at most `batch_size` that the network can take as one batch.

    In a group all first images have the same padded size, and all have a mask or none; the same for the
    second images. A mask of True alone would be no mask, but might round differently.
    """
    groups: dict[object, list[int]] = {}
    for number, pair in enumerate(pairs):
        key = tuple(turned_size(image, 0, multiple) for image in pair)
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), batch_size):
            yield numbers[start : start + batch_size]
