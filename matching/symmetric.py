"""Matching that does not depend on which image comes first.

Two steps make it exact: the pair is put into an order that depends only on what the images hold, and both
directions are matched and merged, so that an image matched with itself is covered as well.
"""

import numpy as np
import torch

from matching.model import MatchBatch
from matching.resize import PreparedImage


def in_canonical_order(image0: PreparedImage, image1: PreparedImage) -> bool:
    """Whether the pair stands as (image0, image1) when sorted by size, mask and grey values."""
    return _order_key(image0) <= _order_key(image1)


def interchangeable(image0: PreparedImage, image1: PreparedImage) -> bool:
    """Whether both hold the same, so that the order of the pair cannot be told."""
    return _order_key(image0) == _order_key(image1)


def _order_key(image: PreparedImage) -> tuple[tuple[int, int], tuple[int, ...], bytes, bytes]:
    mask = b"" if image.mask is None else image.mask.tobytes()
    return image.size, image.grey.shape, mask, image.grey.tobytes()


def swapped(batch: MatchBatch) -> MatchBatch:
    """The same matches with the images in the other order."""
    return MatchBatch(
        pair=batch.pair,
        kpts0=batch.kpts1,
        kpts1=batch.kpts0,
        confidence=batch.confidence,
        spread=batch.spread,
        cell0=batch.cell1,
        cell1=batch.cell0,
    )


def merged(ahead: MatchBatch, back: MatchBatch) -> MatchBatch:
    """All matches of both directions; of two for one pair of cells, the one with the lower spread.

    Both are of (image 0, image 1). At equal spread the two are averaged, which no order can change.
    Sorted by pair, then best first; ties by cell numbers.
    """
    fields = ("pair", "cell0", "cell1", "spread", "confidence", "kpts0", "kpts1")
    both = {
        name: torch.cat([getattr(ahead, name), getattr(back, name)]).cpu().numpy()
        for name in fields
    }
    order = np.lexsort((both["spread"], both["cell1"], both["cell0"], both["pair"]))
    both = {name: values[order] for name, values in both.items()}
    again = np.zeros(len(order), bool)  # row n is of the same cells as row n - 1
    again[1:] = np.logical_and.reduce(
        [both[name][1:] == both[name][:-1] for name in ("pair", "cell0", "cell1")]
    )
    tied = np.flatnonzero(again[1:] & (both["spread"][1:] == both["spread"][:-1]))
    for name in ("confidence", "kpts0", "kpts1"):
        both[name][tied] = (both[name][tied] + both[name][tied + 1]) / 2
    kept = {name: values[~again] for name, values in both.items()}
    best_first = np.lexsort((-kept["confidence"], kept["pair"]))
    device = ahead.pair.device
    return MatchBatch(
        **{name: torch.from_numpy(values[best_first]).to(device) for name, values in kept.items()}
    )
