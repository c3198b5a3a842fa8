"""What a match gives: points of two images that show the same thing."""

from dataclasses import dataclass

import numpy as np

from matching.options import MatchOptions


@dataclass(frozen=True)
class Matches:
    """Matches of one image pair, best first; row n of every field is one match."""

    kpts0: (
        np.ndarray
    )  # (N, 2) float32 x, y in pixels of image 0 as given; top-left centre is (0, 0)
    kpts1: np.ndarray  # (N, 2) float32, the same for image 1
    confidence: np.ndarray  # (N,) float32 in [0, 1], descending

    def __len__(self) -> int:
        return len(self.confidence)


def best_of(matches: Matches, options: MatchOptions) -> Matches:
    """The matches that `options` let through; they are sorted already."""
    keep = np.flatnonzero(matches.confidence >= options.min_confidence)[: options.max_matches]
    return Matches(matches.kpts0[keep], matches.kpts1[keep], matches.confidence[keep])
