"""Many pairs, some of them bad: what a failure is, and what stands in the place of its result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
FAILURES = (ValueError, TypeError, OSError, RuntimeError, MemoryError)  # of one pair, not of ours


@dataclass(frozen=True)
class FailedPair:
    """Stands in the place of the result of a pair that could not be done."""

    error: str  # one line: what was wanted, what came, what to do


def attempt(make: Callable[[], T], record: bool) -> T | FailedPair:
    """What `make` gives; its failure as a `FailedPair` if that is to be recorded, else raised."""
    try:
        return make()
    except FAILURES as error:
        if not record:
            raise
        return FailedPair(" ".join(str(error).split()) or type(error).__name__)
