"""The door for users: images in, matches in pixels of those images out.

What an image may be is said in `data_scripts.given_images`, how it is resized in `matching.resize`, how the network
runs on it in `matching.network`.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from numpy.typing import ArrayLike

from attention_ops.precision import chosen_device, fast_dtype
from data_scripts.attempts import FailedPair, attempt
from data_scripts.given_images import Image, Mask, as_grey, as_mask
from data_scripts.weights_file import find_weights
from matching.batches import equal_groups
from matching.checkpoint import load_checkpoint
from matching.frames import inside_frame
from matching.matches import Matches
from matching.model import Matcher
from matching.network import ImageFeatures, Network
from matching.options import DEFAULT_LONG_SIDE, MatchOptions, check_rotations
from matching.point_model import PointMatcher, load_points
from matching.point_prediction import PointMatches, as_points, find_points
from matching.resize import PreparedImage, prepare

__all__ = [
    "FailedPair",
    "ImageFeatures",
    "MatchPredictor",
    "Matches",
    "PointMatches",
    "load_predictor",
]

WEIGHTS = Path(__file__).parent / "weights"
POINT_WEIGHTS = "small_points"
GPU_BATCH = 8  # pairs that run together on a GPU
WINDOW = 8  # batches of pairs read ahead by match_many, to find pairs of equal size


Pair: TypeAlias = Sequence[Any]  # (image0, image1) or (image0, image1, mask0, mask1)
ReadyPair: TypeAlias = tuple[ImageFeatures, ImageFeatures]
Failures: TypeAlias = Literal["raise", "record"]


class MatchPredictor:
    """Matches image pairs with one network; see `load_predictor`, which makes one.

    Calls with the same arguments give the same matches. Gradients are never recorded and no global
    setting of torch is touched.

    Args:
        matcher: the network; it is copied, so the caller's stays as it is.
        device: where to run, as torch names it.
        dtype: torch.float32 or torch.bfloat16; None takes bfloat16 where the processor has it.
        long_side: images are shrunk until their longer side has so many pixels, never enlarged;
            None keeps their size.
        ignore_frames: mask black frames round images, as undistortion leaves them.
        point_weights: of the point decoder that `match_points` uses: a shipped name or a file.
    """

    def __init__(
        self,
        matcher: Matcher,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        long_side: int | None = DEFAULT_LONG_SIDE,
        ignore_frames: bool = True,
        point_weights: str | Path = POINT_WEIGHTS,
    ) -> None:
        if long_side is not None and long_side < 1:
            raise ValueError(f"long_side must be 1 px or more, or None, got {long_side}")
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
        place = chosen_device(device)
        matcher = copy.deepcopy(matcher).eval().requires_grad_(requires_grad=False)
        # torch's own types lack the overload for memory_format.
        matcher = matcher.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = Network(matcher, place, fast_dtype(place) if dtype is None else dtype)
        self.long_side = long_side
        self.ignore_frames = ignore_frames
        self._point_weights = point_weights
        self._points: PointMatcher | None = None

    def match(
        self,
        image0: Image | ImageFeatures,
        image1: Image | ImageFeatures,
        *,
        masks: tuple[Mask | None, Mask | None] = (None, None),
        **options: Any,
    ) -> Matches:
        """Matches of one pair, best first, in pixels of the images as given.

        Args:
            image0: a path; an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint8, uint16 or
                float in [0, 1]; a tensor (H, W) or (C, H, W); or what `extract` gave. Files are turned
                upright by their EXIF tag, as OpenCV does; alpha is dropped.
            image1: the same.
            masks: bool (H, W) of each image as given, True = use; or None.
            **options: those of `MatchOptions`: max_matches, min_confidence, symmetric, rotations,
                second_look, align, polish.

        Raises:
            FileNotFoundError: a path without a file.
            ValueError: an image, mask or option with a wrong value or shape.
            TypeError: an image or mask of a wrong type.
        """
        chosen = MatchOptions(**options)
        pair = self._ready((image0, image1, *_both(masks)))
        return self.network.match([pair], chosen)[0]

    def match_points(
        self,
        image0: Image | ImageFeatures,
        image1: Image | ImageFeatures,
        points: ArrayLike,
        *,
        masks: tuple[Mask | None, Mask | None] = (None, None),
        min_confidence: float = 0.5,
    ) -> PointMatches:
        """Where points of image 0 lie in image 1.

        The answer for a point does not depend on the others. A point that is NaN, outside image 0 or under
        its mask is not visible, with confidence 0.

        Args:
            image0: as in `match`.
            image1: as in `match`.
            points: (N, 2) x, y in pixels of image 0 as given, N of 0 and more; the centre of the top-left
                pixel is (0, 0).
            masks: as in `match`.
            min_confidence: from which a point counts as visible; less certain ones get NaN.

        Raises:
            FileNotFoundError, ValueError, TypeError: as `match`; also for points that are not (N, 2)
                numbers, and where no point decoder fits this matcher.
        """
        wanted = as_points(points)
        sides = self._ready((image0, image1, *_both(masks)))
        return find_points(self.network, self._point_matcher(), sides, wanted, min_confidence)

    def _point_matcher(self) -> PointMatcher:
        """The point decoder on this predictor's matcher, read at the first call."""
        if self._points is None:
            path = self._point_weights
            head, _, _ = load_points(weights_path(path), self.network.matcher)
            self._points = head.to(self.network.device).requires_grad_(requires_grad=False)
        return self._points

    def extract(
        self, image: Image, mask: Mask | None = None, rotations: Sequence[int] = (0,)
    ) -> ImageFeatures:
        """Features of one image, which `match` takes in its place.

        Args:
            image: as in `match`.
            mask: bool (H, W), True = use.
            rotations: turns to keep features of; others are computed when `match` asks for them.
        """
        check_rotations(rotations)
        prepared = self._prepare(image, mask, "image")
        features = {turn: self.network.features([prepared], turn) for turn in rotations}
        return ImageFeatures(prepared, features, self.network.matcher)

    def match_many(
        self,
        pairs: Iterable[Pair],
        *,
        batch_size: int | None = None,
        on_error: Failures = "raise",
        **options: Any,
    ) -> Iterator[Matches | FailedPair]:
        """Matches of many pairs, in their order, one at a time; images of any mix of sizes.

        Args:
            pairs: (image0, image1) or (image0, image1, mask0, mask1), each as in `match`.
            batch_size: pairs of equal size that run together; None: 1 on a CPU, where more saves
                nothing, else GPU_BATCH. At 1 the results are those of single calls to the last bit, above that
                within rounding.
            on_error: "raise" stops at the first bad pair; "record" gives a `FailedPair` in its place.
            **options: those of `MatchOptions`.
        """
        chosen = MatchOptions(**options)
        if batch_size is None:
            batch_size = 1 if self.network.device.type == "cpu" else GPU_BATCH
        if batch_size < 1 or on_error not in ("raise", "record"):
            raise ValueError(
                "batch_size must be 1 or more and on_error 'raise' or 'record', "
                f"got {batch_size} and {on_error!r}"
            )
        return self._match_stream(iter(pairs), batch_size, on_error == "record", chosen)

    def _match_stream(
        self, pairs: Iterator[Pair], batch_size: int, record: bool, options: MatchOptions
    ) -> Iterator[Matches | FailedPair]:
        ahead = 1 if batch_size == 1 else WINDOW * batch_size
        while window := list(itertools.islice(pairs, ahead)):
            ready = [attempt(partial(self._ready, pair), record) for pair in window]
            results: dict[int, Matches | FailedPair] = {}
            results |= {n: pair for n, pair in enumerate(ready) if isinstance(pair, FailedPair)}
            good = {n: pair for n, pair in enumerate(ready) if not isinstance(pair, FailedPair)}
            results |= self._match_good(good, batch_size, record, options)
            yield from (results[n] for n in range(len(window)))

    def _match_good(
        self, pairs: dict[int, ReadyPair], batch_size: int, record: bool, options: MatchOptions
    ) -> dict[int, Matches | FailedPair]:
        """Matches of checked pairs by their number, in batches where sizes allow."""
        results: dict[int, Matches | FailedPair] = {}
        numbers = list(pairs)
        images = [(side0.image, side1.image) for side0, side1 in pairs.values()]
        for group in equal_groups(images, self.network.matcher.size_multiple, batch_size):
            chosen = [pairs[numbers[i]] for i in group]
            found = attempt(partial(self.network.match, chosen, options), record)
            for position, i in enumerate(group):
                results[numbers[i]] = found if isinstance(found, FailedPair) else found[position]
        return results

    def _ready(self, pair: Pair) -> tuple[ImageFeatures, ImageFeatures]:
        """Both images of a pair, checked and shrunk."""
        if len(pair) not in (2, 4):
            raise ValueError(
                "a pair must be (image0, image1) or (image0, image1, mask0, mask1), "
                f"got {len(pair)} entries"
            )
        masks = pair[2:] or (None, None)
        sides = (self._side(pair[i], masks[i], f"image{i}") for i in (0, 1))
        return next(sides), next(sides)

    def _side(self, image: Image | ImageFeatures, mask: Mask | None, name: str) -> ImageFeatures:
        if not isinstance(image, ImageFeatures):
            return ImageFeatures(self._prepare(image, mask, name), {}, self.network.matcher)
        if image.matcher is not self.network.matcher:
            raise ValueError(f"{name} was extracted by another predictor; extract it with this one")
        if mask is not None:
            raise ValueError(f"{name} is extracted already; give its mask to extract()")
        return image

    def _prepare(self, image: Image, mask: Mask | None, name: str) -> PreparedImage:
        grey = as_grey(image, name)
        used = as_mask(mask, grey.shape, f"mask of {name}")
        inside = inside_frame(grey) if self.ignore_frames else None
        if inside is not None:
            used = inside if used is None else used & inside
        return prepare(grey, used, self.long_side)


def _both(masks: Any) -> tuple[Mask | None, Mask | None]:
    if not isinstance(masks, Sequence) or len(masks) != 2:
        raise TypeError(
            "masks must be (mask0, mask1), each bool (H, W) or None, got "
            f"{f'{len(masks)} of them' if isinstance(masks, Sequence) else type(masks).__name__}"
        )
    return masks[0], masks[1]


def load_predictor(
    name_or_path: str | Path | Matcher = "small",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    long_side: int | None = DEFAULT_LONG_SIDE,
    ignore_frames: bool = True,
    point_weights: str | Path = POINT_WEIGHTS,
) -> MatchPredictor:
    """A predictor with shipped weights (by name), with those of a checkpoint file, or round a Matcher.

    Examples:
        >>> matches = load_predictor("small").match("left.png", "right.png")  # doctest: +SKIP

    Args:
        name_or_path: see above.
        device: see `MatchPredictor`, as the next two.
        dtype: number format of the network.
        long_side: longest side that the network sees, px.
        ignore_frames: mask black frames round images.
        point_weights: of the point decoder that `match_points` uses.

    Raises:
        ValueError: no weights of that name are shipped, or the file is no checkpoint.
        FileNotFoundError: no such checkpoint file.
    """
    if isinstance(name_or_path, torch.nn.Module):
        matcher = name_or_path
    else:
        matcher, _, _ = load_checkpoint(weights_path(name_or_path))
    return MatchPredictor(
        matcher,
        device=device,
        dtype=dtype,
        long_side=long_side,
        ignore_frames=ignore_frames,
        point_weights=point_weights,
    )


def weights_path(name_or_path: str | Path) -> Path:
    """The checkpoint file that a name of shipped weights, or a path, stands for."""
    return find_weights(name_or_path, WEIGHTS)
