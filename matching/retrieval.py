"""Which images are worth matching: one descriptor per image from our coarse features, nearest by cosine.

The descriptor is a generalised mean (GeM, Radenovic et al. 2018, eq. 3) over the coarse cells before the
two-view transformer, of the positive and of the negative part of each channel, since our features have
both signs. Nothing is trained for it; docs/pipelines.md says what it finds.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attention_ops.position import sine_encoding
from matching.model import Features

POWER = 3.0  # 1 is the mean, infinity the maximum
FLOOR = 1e-6  # 0 has no power below 1 with a finite slope, and underflows
CHUNK = 1024  # rows of the similarity matrix held at a time


def gem_descriptor(features: Features, corrected_encoding: bool) -> np.ndarray:
    """Descriptor (2 C,) float32 of length 1 of one image.

    Args:
        features: of a batch of one image; masked cells do not count.
        corrected_encoding: of the matcher that made them; the position encoding is taken off again, since it
            says where and not what.
    """
    coarse = features.coarse.float()
    B, C, H, W = coarse.shape
    if B != 1:
        raise ValueError(f"features must be of one image, got a batch of {B}")
    encoding = sine_encoding(H, W, C, coarse.device, coarse.dtype, corrected=corrected_encoding)
    cells = (coarse - encoding)[0].flatten(1)  # (C, L)
    if features.mask is not None:
        cells = cells[:, features.mask[0].flatten()]
    if not cells.shape[1]:
        return np.zeros(2 * C, np.float32)
    unit = F.normalize(cells, dim=0)
    pooled = torch.cat([_generalised_mean(unit), _generalised_mean(-unit)])
    return np.asarray(F.normalize(pooled, dim=0).cpu().numpy())


def _generalised_mean(cells: Tensor) -> Tensor:
    """(mean over l of max(x[c, l], 0) ** p) ** (1 / p), for every channel: (C, L) -> (C,)."""
    return cells.clamp_min(FLOOR).pow(POWER).mean(1).pow(1 / POWER)


def nearest_images(descriptors: np.ndarray, count: int) -> np.ndarray:
    """The `count` nearest other images of every image, nearest first: (N, min(count, N - 1)) int64.

    Exact, by the cosine of descriptors less their mean: what all images of a collection share tells none
    apart. The (N, N) matrix is never held, only CHUNK rows of it. Rows of zeros have no neighbours, -1, and
    are nobody's.

    Args:
        descriptors: (N, C), zeros for an image that has none.
        count: 1 or more.
    """
    if count < 1:
        raise ValueError(f"--retrieve must be 1 or more images, got {count}")
    given = torch.from_numpy(np.ascontiguousarray(descriptors, dtype=np.float32))
    real = given.abs().sum(1) > 0
    centred = given - given[real].mean(0) if real.any() else given
    unit = F.normalize(centred, dim=1)
    N = len(unit)
    found = torch.full((N, max(0, min(count, N - 1))), -1, dtype=torch.int64)
    for start in range(0, N, CHUNK):
        rows = torch.arange(start, min(start + CHUNK, N))
        likeness = unit[rows] @ unit.T
        likeness[:, ~real] = -torch.inf
        likeness[torch.arange(len(rows)), rows] = -torch.inf
        # A stable sort: of equally near images the one that comes first, on every machine.
        score, index = likeness.sort(stable=True, dim=1, descending=True)
        near = index[:, : found.shape[1]].masked_fill(score[:, : found.shape[1]].isinf(), -1)
        found[rows] = near.masked_fill(~real[rows, None], -1)
    return np.asarray(found.numpy())


def recall(neighbours: np.ndarray, truth: set[tuple[int, int]], count: int) -> tuple[float, float]:
    """How much of the truth lies among the first `count` neighbours of each image.

    Args:
        neighbours: (N, K), nearest first.
        truth: pairs of images that belong together, the smaller number first.
        count: 1 to K.

    Returns:
        The share of images with at least one true neighbour among those that have one (recall@K of place
        recognition), and the share of true pairs that one of their two images finds (what matching them
        would cover). NaN where there is no truth.
    """
    asking = {image for pair in truth for image in pair}
    found = {
        (min(i, j), max(i, j))
        for i, row in enumerate(neighbours[:, :count].tolist())
        for j in row
        if j >= 0
    }
    right = found & truth
    hit = {
        i
        for i in asking
        if any((min(i, j), max(i, j)) in truth for j in neighbours[i, :count].tolist())
    }
    nan = float("nan")
    return (
        len(hit) / len(asking) if asking else nan,
        len(right) / len(truth) if truth else nan,
    )
