"""Where the QuadTree attention of a matcher looks: the cells that a point visits at every level.

Reads the last cross layer; boxes come out in pixels of the images as given, ready to draw.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from attention_ops.quadtree import QuadtreeAttention
from matching.model import STRIDE, Matcher
from matching.network import ImageFeatures
from matching.predictor import MatchPredictor
from matching.resize import PreparedImage, to_given_pixels, to_network_pixels


@dataclass(frozen=True)
class VisitedBoxes:
    """Cells of image 1 that one level visits."""

    boxes: np.ndarray  # (K, 4) left, top, right, bottom edge in pixels of image 1 as given
    share: np.ndarray  # (K,) share of the heads that visit the cell, in (0, 1]


@dataclass(frozen=True)
class AttentionTrace:
    """What one point of image 0 looks at in image 1."""

    point: tuple[float, float]  # x, y in pixels of image 0 as given
    box: np.ndarray  # (4,) edges of the coarse cell of image 0 that holds the point
    levels: list[VisitedBoxes]  # coarsest first


def trace_attention(
    predictor: MatchPredictor,
    image0: ImageFeatures,
    image1: ImageFeatures,
    point: tuple[float, float],
) -> AttentionTrace:
    """The cells that the last cross layer visits in image 1 for `point` of image 0.

    Args:
        predictor: with a matcher whose cross layers are QuadTree attention.
        image0: what `predictor.extract` gave.
        image1: the same.
        point: x, y in pixels of image 0 as given.

    Raises:
        ValueError: the point lies outside image 0, or the matcher has another attention.
    """
    H, W = image0.size
    if not (0 <= point[0] <= W - 1 and 0 <= point[1] <= H - 1):
        raise ValueError(
            f"the point must lie in image 0, x in [0, {W - 1}] and y in [0, {H - 1}], "
            f"got {point[0]:g}, {point[1]:g}"
        )
    matcher = predictor.network.matcher
    attention = last_cross_attention(matcher)
    inside = to_network_pixels(np.array([point]), image0.image)[0]
    column, row = (int((value + 0.5) // STRIDE) for value in inside)
    with predictor.network.running():
        seen = _first_input(attention, matcher, image0, image1)
        visited = attention.visited_cells(*seen[:2], (column, row), *seen[2:])
    levels = []
    for level in visited:
        boxes = _boxes(level.cells.cpu().numpy(), STRIDE * level.stride, image1.image)
        real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)  # the others lie in the padding
        share = level.heads.cpu().numpy() / attention.heads
        levels.append(VisitedBoxes(boxes[real], share[real]))
    return AttentionTrace(point, _boxes(np.array([[column, row]]), STRIDE, image0.image)[0], levels)


def last_cross_attention(matcher: Matcher) -> QuadtreeAttention:
    """The attention of the last cross layer.

    Raises:
        ValueError: there is none, or it is not QuadTree attention.
    """
    transformer = matcher.transformer
    cross = [
        layer
        for layer, kind in zip(transformer.layers, transformer.kinds, strict=True)
        if kind == "cross"
    ]
    attention = cross[-1].attention if cross else None
    if not isinstance(attention, QuadtreeAttention):
        got = type(attention).__name__ if cross else "no cross layer"
        raise ValueError(
            f"only QuadTree attention visits cells that can be shown, got {got}; "
            "use the weights 'small' or those of a 'quadtree' preset"
        )
    return attention


def _first_input(
    attention: nn.Module, matcher: Matcher, image0: ImageFeatures, image1: ImageFeatures
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What `attention` is given when image 0 looks at image 1: maps and masks of both."""
    calls: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []
    hook = attention.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    try:
        matcher.coarse_tokens(image0.features[0], image1.features[0])
    finally:
        hook.remove()
    return calls[0]  # image 0 comes first in every layer


def _boxes(cells: np.ndarray, side: int, image: PreparedImage) -> np.ndarray:
    """Edges (K, 4) of cells (K, 2) of `side` network pixels, cut at the edges of the image as given."""
    H, W = image.size
    corners = [to_given_pixels((cells + step) * side - 0.5, image) for step in (0, 1)]
    return np.concatenate([c.clip(-0.5, (W - 0.5, H - 0.5)) for c in corners], axis=1)
