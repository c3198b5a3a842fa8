"""How well occluded pixels are found: counts of one image, and the figures of the field from them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class OcclusionCounts:
    """Pixels where it is known whether they are occluded, by what is so and what was said."""

    hits: int  # occluded, and said to be
    false_alarms: int  # visible, but said to be occluded
    misses: int  # occluded, but said to be visible
    rejections: int  # visible, and said to be

    @property
    def iou(self) -> float:
        """Overlap of the occluded class alone; NaN where there is none, said or true."""
        return _ratio(self.hits, self.hits + self.false_alarms + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of the occluded class."""
        return _ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    @property
    def two_class_iou(self) -> float:
        """STTR's figure: intersections of both classes over the unions of both, added up.

        Most pixels are visible, so this is much higher than `iou` for the same answer.
        """
        wrong = self.false_alarms + self.misses
        right = self.hits + self.rejections
        return _ratio(right, right + 2 * wrong)


def count_occlusion(
    predicted: np.ndarray, occluded: np.ndarray, counts: np.ndarray
) -> OcclusionCounts:
    """Counts of predicted (H, W) bool against occluded (H, W) bool where counts (H, W) bool."""
    said, is_so = predicted[counts], occluded[counts]
    return OcclusionCounts(
        int((said & is_so).sum()),
        int((said & ~is_so).sum()),
        int((~said & is_so).sum()),
        int((~said & ~is_so).sum()),
    )


def add_occlusion(images: Sequence[OcclusionCounts]) -> OcclusionCounts:
    """The counts of several images as if they were one."""
    return OcclusionCounts(*(sum(each) for each in zip(*map(astuple, images), strict=True)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else NAN
