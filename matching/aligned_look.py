"""Images that are turned or zoomed against each other are matched once more, with one laid onto the other.

The network sees through a turn of some 30 degrees and a zoom of 1.5. The first matches, or where they are few or
do not agree SIFT's, tell turn, zoom and shift; the coarser image is then laid onto the finer one, so that both
look alike to the network, and the matches go back to the images as they were. Where matches stay few, the network
itself is shown both images small, turned and zoomed by round steps, to tell how they lie.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from matching.matches import Matches
from matching.options import FEW
from matching.resize import PreparedImage, to_given_pixels, to_network_pixels, usable
from matching.second_look import smaller
from matching.sift import keypoints_of, mutual_matches
from matching.similarity import Similarity, similarity_of, turned_whole

MAX_TURN_DEG = 20.0  # a smaller turn and zoom is not worth another look
MAX_ZOOM = 1.3
AGREEING = 0.3  # share of the matches that must lie as the similarity says, or SIFT is asked
GUESS_SIDE = 320  # px; longer side of the images on which turns and zooms are tried
GUESS_SUPPORT = 16  # matches that must agree on a guess; of unrelated images some ten do
# Degrees and zoom; with what the network sees through by itself they cover all turns but near 135, and zooms of 3.
GUESSES = ((0, 1), (45, 1), (-45, 1), (90, 1), (-90, 1), (180, 1), (0, 2), (0, 0.5))


@dataclass(frozen=True)
class AlignedPair:
    """Two images in the frame of the finer one."""

    image0: PreparedImage  # as if given in this frame
    image1: PreparedImage
    given: tuple[PreparedImage, PreparedImage]
    back: tuple[Similarity | None, Similarity | None]  # from the frame, of the image that was laid

    @property
    def images(self) -> tuple[PreparedImage, PreparedImage]:
        """Both images, in the frame."""
        return self.image0, self.image1

    def as_given(self, found: Matches) -> Matches:
        """Matches in pixels of this frame, in pixels of the images as given, less those outside."""
        kpts0, kpts1 = (
            to_given_pixels(kpts if back is None else back(kpts), image).astype(np.float32)
            for kpts, back, image in zip(
                (found.kpts0, found.kpts1), self.back, self.given, strict=True
            )
        )
        keep = usable(kpts0, self.given[0]) & usable(kpts1, self.given[1])
        return Matches(kpts0[keep], kpts1[keep], found.confidence[keep])


def aligned(image0: PreparedImage, image1: PreparedImage, lie: Similarity) -> AlignedPair:
    """The pair with the coarser image laid onto the finer one.

    Args:
        image0: the first image.
        image1: the second.
        lie: from pixels of `image0.grey` to pixels of `image1.grey`.
    """
    if lie.zoom <= 1:
        return AlignedPair(
            _as_given_here(image0),
            _laid(image1, lie.back, image0.grey.shape),
            (image0, image1),
            (None, lie),
        )
    return AlignedPair(
        _laid(image0, lie, image1.grey.shape),
        _as_given_here(image1),
        (image0, image1),
        (lie.back, None),
    )


class Arrangement:
    """How two images lie to each other; SIFT is asked at most once, however many looks there are.

    Similarities go from pixels of `image0.grey` to those of `image1.grey`.
    """

    def __init__(self, image0: PreparedImage, image1: PreparedImage) -> None:
        self.images = image0, image1
        self._long_side = max(*image0.grey.shape, *image1.grey.shape)

    def agreed(self, found: Matches) -> Similarity | None:
        """What most of the matches say; None where too few do."""
        kpts0, kpts1 = map(to_network_pixels, (found.kpts0, found.kpts1), self.images)
        return similarity_of(kpts0, kpts1, self._long_side)

    def by(self, found: Matches) -> Similarity | None:
        """What the matches say where they are many and agree, or else SIFT."""
        agreed = self.agreed(found)
        if agreed is not None and len(found) >= FEW and agreed.support >= AGREEING * len(found):
            return agreed
        return self._by_sift or agreed

    @cached_property
    def _by_sift(self) -> Similarity | None:
        side0, side1 = (
            keypoints_of(np.rint(image.grey * 255).clip(0, 255).astype(np.uint8), image.mask)
            for image in self.images
        )
        index0, index1, _ = mutual_matches(side0, side1)
        return similarity_of(side0.kpts[index0], side1.kpts[index1], self._long_side)


def guessed(
    image0: PreparedImage, image1: PreparedImage, turn_deg: float, zoom: float
) -> AlignedPair:
    """The pair small, image 1 turned back by `turn_deg`, the finer one smaller yet.

    Args:
        image0: the first image.
        image1: the second.
        turn_deg: by how much things of image 0 are supposed to be turned in image 1.
        zoom: how much larger they are supposed to be there.
    """
    small0 = smaller(image0, round(GUESS_SIDE * min(zoom, 1)))
    small1 = smaller(image1, round(GUESS_SIDE / max(zoom, 1)))
    if not turn_deg:
        return AlignedPair(
            _as_given_here(small0), _as_given_here(small1), (small0, small1), (None, None)
        )
    lay, shape = turned_whole(small1.grey.shape, -turn_deg)
    return AlignedPair(
        _as_given_here(small0), _laid(small1, lay, shape), (small0, small1), (None, lay.back)
    )


def _as_given_here(image: PreparedImage) -> PreparedImage:
    """The image as if it had been given at the size that the network sees."""
    return PreparedImage(image.grey, image.mask, image.grey.shape, image.mask)


def _laid(image: PreparedImage, lay: Similarity, shape: tuple[int, int]) -> PreparedImage:
    """The image in a frame (h, w); `lay` goes from its pixels to those of the frame and does not shrink."""
    size = shape[1], shape[0]
    grey = cv2.warpAffine(
        image.grey, lay.matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    used = np.ones(image.grey.shape, bool) if image.mask is None else image.mask
    mask = cv2.warpAffine(used.astype(np.uint8), lay.matrix, size, flags=cv2.INTER_NEAREST) > 0
    return PreparedImage(grey.clip(0, 1), mask, shape, mask)
