"""Few matches: the pair is looked at once more, smaller, so that the network sees more of each image at once.

Pairs of far apart or poorly textured views have few matches at full size; features of a shrunk image reach
over more of the scene. The answers of both looks are given together, best first.
"""

from dataclasses import replace

import numpy as np

from matching.matches import Matches
from matching.resize import PreparedImage, prepare

LONG_SIDE = 480  # px of the second look; images that are no larger than this get none


def can_shrink(image0: PreparedImage, image1: PreparedImage) -> bool:
    """Whether the second look would differ from the first."""
    return max(*image0.grey.shape, *image1.grey.shape) > LONG_SIDE


def smaller(image: PreparedImage, long_side: int = LONG_SIDE) -> PreparedImage:
    """The image as the second look sees it; its points go back to the same image as given."""
    shrunk = prepare(image.grey, image.mask, long_side)
    return replace(shrunk, size=image.size, given_mask=image.given_mask)


def of_both(first: Matches, second: Matches) -> Matches:
    """All matches of both looks, best first; of equally good ones those of the first."""
    order = np.argsort(-np.concatenate([first.confidence, second.confidence]), kind="stable")
    kpts0, kpts1, confidence = (
        np.concatenate([getattr(first, name), getattr(second, name)])[order]
        for name in ("kpts0", "kpts1", "confidence")
    )
    return Matches(kpts0, kpts1, confidence)
