"""Runs the network on prepared images: batches, number formats, turns, both directions, original pixels.

Stands between `matching.predictor`, which knows users, and `matching.model`, which knows tensors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from matching.aligned_look import (
    GUESS_SUPPORT,
    GUESSES,
    MAX_TURN_DEG,
    MAX_ZOOM,
    Arrangement,
    aligned,
    guessed,
)
from matching.matches import Matches, best_of
from matching.model import Features, MatchBatch, Matcher
from matching.options import FEW, MatchOptions
from matching.polished_matches import polished_matches
from matching.refine import PatchRefiner
from matching.resize import PreparedImage, to_given_pixels, turned_and_padded, usable
from matching.second_look import can_shrink, of_both, smaller
from matching.similarity import SAME, Similarity
from matching.symmetric import in_canonical_order, interchangeable, merged, swapped


@dataclass(frozen=True)
class ImageFeatures:
    """An image made ready once, to be matched many times; made by `MatchPredictor.extract`."""

    image: PreparedImage
    features: Mapping[int, Features]  # of the image turned by the key, in degrees
    matcher: Matcher  # that made them

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image as given."""
        return self.image.size


@dataclass(frozen=True)
class Network:
    """A matcher on its device, and the number format that it runs in."""

    matcher: Matcher
    device: torch.device
    dtype: torch.dtype  # float32 or bfloat16

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients, and the number format of this network whatever the caller's is."""
        mixed = self.dtype is torch.bfloat16
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=mixed),
        ):
            yield

    def features(self, images: Sequence[PreparedImage], turn_deg: int) -> Features:
        """Features of a batch of images of equal padded size, all with a mask or none."""
        views = [turned_and_padded(image, turn_deg, self.matcher.size_multiple) for image in images]
        grey = torch.from_numpy(np.stack([view[0] for view in views]))[:, None].to(self.device)
        masks = [view[1] for view in views if view[1] is not None]
        mask = torch.from_numpy(np.stack(masks)).to(self.device) if masks else None
        with self.running():
            return self.matcher.extract(grey, mask)

    def match(
        self, pairs: Sequence[tuple[ImageFeatures, ImageFeatures]], options: MatchOptions
    ) -> list[Matches]:
        """Matches of pairs whose first images have equal padded sizes, and whose second ones have."""
        if not options.symmetric:
            return self._match_ordered(pairs, options)
        ordered = [in_canonical_order(side0.image, side1.image) for side0, side1 in pairs]
        turned_round = [
            (side0, side1) if kept else (side1, side0)
            for (side0, side1), kept in zip(pairs, ordered, strict=True)
        ]
        return [
            found if kept else Matches(found.kpts1, found.kpts0, found.confidence)
            for found, kept in zip(self._match_ordered(turned_round, options), ordered, strict=True)
        ]

    def _match_ordered(
        self, pairs: Sequence[tuple[ImageFeatures, ImageFeatures]], options: MatchOptions
    ) -> list[Matches]:
        """The matches of each pair at its best turn; the first of equally good ones."""
        images = [(side0.image, side1.image) for side0, side1 in pairs]
        features0 = self._features([side0 for side0, _ in pairs], 0)
        upright1: Features | None = None  # of the second images, where no turn asks for others
        tried: list[list[Matches]] = []  # [turn][pair]
        for turn in options.turns:
            features1 = self._features([side1 for _, side1 in pairs], turn)
            upright1 = features1 if turn == 0 else upright1
            found = self._match_features(features0, features1, images, turn, options.symmetric)
            tried.append(
                [
                    self._with_second_look(matches, pair, turn, options)
                    for matches, pair in zip(found, images, strict=True)
                ]
            )
        sure_enough = replace(options, max_matches=None)
        best = [
            max(each, key=lambda found: _certainty(best_of(found, sure_enough)))
            for each in zip(*tried, strict=True)
        ]
        for n, pair in enumerate(images):
            kept = part(features0, n), None if upright1 is None else part(upright1, n)
            best[n] = self._improved(best[n], pair, kept, options)
        return [best_of(found, options) for found in best]

    def _improved(
        self,
        found: Matches,
        pair: tuple[PreparedImage, PreparedImage],
        kept: tuple[Features, Features | None],
        options: MatchOptions,
    ) -> Matches:
        """Matches of another look where that pays, and of more exact places, as far as they are asked for.

        `kept` are features of the upright images.
        """
        if options.symmetric and interchangeable(*pair):
            return found  # both steps choose an image to move
        ours = isinstance(self.matcher.fine, PatchRefiner)
        align = ours if options.align is None else options.align
        polish = ours if options.polish is None else options.polish
        if align:
            found = self._aligned_look(found, pair, kept, options)
        if polish:
            found = polished_matches(found, *pair)
        return found

    def _aligned_look(
        self,
        found: Matches,
        pair: tuple[PreparedImage, PreparedImage],
        kept: tuple[Features, Features | None],
        options: MatchOptions,
    ) -> Matches:
        """`found`, or surer matches of the pair with one image laid onto the other."""
        arrangement = Arrangement(*pair)
        tried = [SAME]
        for ask in (arrangement.by, arrangement.by, partial(self._guess, arrangement)):
            lie = ask(found)
            if lie is None or any(lie.is_near(way, MAX_TURN_DEG, MAX_ZOOM) for way in tried):
                continue
            tried.append(lie)
            view = aligned(*pair, lie)
            features0, features1 = (
                self.features([image], 0) if laid or same is None else same
                for image, laid, same in zip(view.images, view.back, kept, strict=True)
            )
            seen = self._match_features(features0, features1, [view.images], 0, options.symmetric)
            again = view.as_given(self._with_second_look(seen[0], view.images, 0, options))
            if _certainty(again) > _certainty(found):
                found = again
        return found

    def _guess(self, arrangement: Arrangement, found: Matches) -> Similarity | None:
        """Where matches are few: how the images lie by the way of `GUESSES` in which most matches agree."""
        if len(found) >= FEW:
            return None
        views = [guessed(*arrangement.images, *guess) for guess in GUESSES]
        features0: dict[tuple[int, ...], Features] = {}  # of image 0 by its size
        best: Similarity | None = None
        for view in views:
            shape = view.image0.grey.shape
            if shape not in features0:
                features0[shape] = self.features([view.image0], 0)
            features = features0[shape], self.features([view.image1], 0)
            seen = self._match_features(*features, [view.images], 0, symmetric=False)[0]
            lie = arrangement.agreed(view.as_given(seen))
            if lie is not None and (best is None or lie.support > best.support):
                best = lie
        return best if best is not None and best.support >= GUESS_SUPPORT else None

    def _with_second_look(
        self,
        found: Matches,
        pair: tuple[PreparedImage, PreparedImage],
        turn: int,
        options: MatchOptions,
    ) -> Matches:
        """`found`, and matches of the pair at a smaller size where they are few."""
        if len(found) >= options.second_look or not can_shrink(*pair):
            return found
        return of_both(found, self._second_look(pair, turn, options.symmetric))

    def _second_look(
        self, pair: tuple[PreparedImage, PreparedImage], turn: int, symmetric: bool
    ) -> Matches:
        """Matches of one pair at a smaller size, in pixels of the images as given."""
        image0, image1 = map(smaller, pair)
        features = self.features([image0], 0), self.features([image1], turn)
        return self._match_features(*features, [(image0, image1)], turn, symmetric)[0]

    def _match_features(
        self,
        features0: Features,
        features1: Features,
        images: Sequence[tuple[PreparedImage, PreparedImage]],
        turn: int,
        symmetric: bool,
    ) -> list[Matches]:
        """All matches of each pair of images, whose second one was turned, in pixels as given."""
        with self.running():
            batch = self.matcher.match_features(features0, features1)
            if symmetric:
                back = swapped(self.matcher.match_features(features1, features0))
                batch = merged(batch, back)
        return [in_pixels(batch, n, *pair, turn) for n, pair in enumerate(images)]

    def _features(self, sides: Sequence[ImageFeatures], turn: int) -> Features:
        """Kept features where all images have them, new ones otherwise."""
        if all(turn in side.features for side in sides):
            return joined([side.features[turn] for side in sides])
        return self.features([side.image for side in sides], turn)


def joined(parts: Sequence[Features]) -> Features:
    """Features of several batches of equal size as those of one; all have a mask or none."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.mask for part in parts if part.mask is not None]
    return Features(
        torch.cat([part.coarse for part in parts]),
        torch.cat([part.fine for part in parts]),
        torch.cat(masks) if masks else None,
    )


def part(features: Features, number: int) -> Features:
    """Features of one image of a batch, as those of a batch of one."""
    one = slice(number, number + 1)
    mask = features.mask
    return Features(features.coarse[one], features.fine[one], None if mask is None else mask[one])


def in_pixels(
    batch: MatchBatch, number: int, image0: PreparedImage, image1: PreparedImage, turn_deg: int
) -> Matches:
    """Matches of pair `number` in pixels as given, less those outside or under a mask.

    `turn_deg` is how the network saw image 1.
    """
    mine = batch.pair == number
    kpts0 = to_given_pixels(_array(batch.kpts0[mine]), image0).astype(np.float32)
    kpts1 = to_given_pixels(_array(batch.kpts1[mine]), image1, turn_deg).astype(np.float32)
    confidence = _array(batch.confidence[mine]).clip(0, 1)
    keep = usable(kpts0, image0) & usable(kpts1, image1)
    return Matches(kpts0[keep], kpts1[keep], confidence[keep])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def _certainty(matches: Matches) -> float:
    return float(matches.confidence.sum(dtype=np.float64))
