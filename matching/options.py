"""What may be asked of a match. Imports nothing heavy: the command line reads it before torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

DEFAULT_LONG_SIDE = 800  # px; the size at which `small` is trained to work and is measured
FEW = 200  # matches: views far apart or without texture; easy pairs have thousands
QUARTER_TURNS = (0, 90, 180, 270)  # degrees counter-clockwise


@dataclass(frozen=True)
class MatchOptions:
    """What is asked of one match.

    Args:
        max_matches: At most so many matches, the best ones; None for all.
        min_confidence: Leave out matches below this, in [0, 1].
        symmetric: Swapping the images gives exactly the same matches, swapped. Both directions are
            matched; of two matches of the same cells the surer one is kept.
        rotations: Quarter turns of image 1 to try, in degrees counter-clockwise; the one with the
            largest sum of confidence is kept. With symmetric the turns back are tried as well.
        second_look: With fewer matches than this, images above 480 px are matched at that size too and
            the matches of both are given; 0 never does.
        align: Where the matches, or else SIFT's, say that the images are turned or zoomed against each
            other, match them again with one laid onto the other, and keep the surer matches. None: with
            the presets of this library, not with the official ones, which give what their authors' code does.
        polish: Move points of image 1 by fractions of a pixel to where the images themselves agree best.
            None: as for align.
    """

    max_matches: int | None = None
    min_confidence: float = 0.0
    symmetric: bool = False
    rotations: Sequence[int] = (0,)
    second_look: int = FEW
    align: bool | None = None
    polish: bool | None = None

    def __post_init__(self) -> None:
        if self.max_matches is not None and not _is_count(self.max_matches):
            raise ValueError(f"max_matches must be 0 or more, or None, got {self.max_matches!r}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must be in [0, 1], got {self.min_confidence}")
        if not _is_count(self.second_look):
            raise ValueError(f"second_look must be 0 or more matches, got {self.second_look!r}")
        check_rotations(self.rotations)

    @property
    def turns(self) -> tuple[int, ...]:
        """The turns to try; closed under reversal when the result must not know the order."""
        if not self.symmetric:
            return tuple(self.rotations)
        return tuple(sorted({turn for r in self.rotations for turn in (r, -r % 360)}))


def _is_count(value: object) -> bool:
    return isinstance(value, SupportsIndex) and index(value) >= 0


def check_rotations(rotations: Sequence[int]) -> None:
    """Raises ValueError unless `rotations` are one or more different quarter turns."""
    known = set(rotations) <= set(QUARTER_TURNS)
    if not rotations or not known or len(set(rotations)) < len(rotations):
        raise ValueError(
            f"rotations must be different quarter turns out of {QUARTER_TURNS} degrees, "
            f"got {tuple(rotations)}"
        )
