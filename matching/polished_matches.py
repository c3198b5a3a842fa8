"""Matches in pixels of the images as given, polished on the images that the network saw."""

import numpy as np

from matching.matches import Matches
from matching.polish import polished
from matching.resize import PreparedImage, to_given_pixels, to_network_pixels, usable


def polished_matches(found: Matches, image0: PreparedImage, image1: PreparedImage) -> Matches:
    """The same matches in the same order; points of image 1 that do not move keep their bits.

    A point that would come to lie outside image 1 as given, or under its mask, stays.
    """
    kpts0 = to_network_pixels(found.kpts0, image0)
    before = to_network_pixels(found.kpts1, image1).astype(np.float32)
    after = polished(kpts0, before, image0.grey, image1.grey, (image0.mask, image1.mask))
    kpts1 = to_given_pixels(after, image1).astype(np.float32)
    moved = (after != before).any(axis=1) & usable(kpts1, image1)
    return Matches(found.kpts0, np.where(moved[:, None], kpts1, found.kpts1), found.confidence)
