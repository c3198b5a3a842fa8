"""How different repositories count the same disparities of SceneFlow: which pixels, which images, which mean.

Numbers under different conventions cannot be compared. Each is a row here and a row of the output; none is the
default of another. The rules are those of the repositories' evaluation code.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.disparity import (
    BAD_PX,
    DisparityCounts,
    DisparityScore,
    count_disparity,
    mean_of_images,
    pooled,
)
from eval.stereo_pairs import StereoTruth

Reduction = Literal["images", "pixels", "batches"]
SUBSET_SEED = 1000  # numpy seed of RAFT-Stereo's choice of test images


@dataclass(frozen=True)
class Convention:
    """One repository's way of counting."""

    name: str
    rule: str  # in words
    below: float | None = None  # px: a true disparity counts below it
    above: float | None = None  # px: and above it
    visible_only: bool = False
    epe: Reduction = "images"
    outlier: float | Literal["d1"] | None = None  # px, or 3 px and 5 %
    outlier_mean: Reduction = "images"
    min_share: float = 0.0  # an image with a smaller share of pixels that count is skipped
    batch: int = 1
    subset: int | None = None  # so many images drawn with SUBSET_SEED, where there are more

    def mask(self, truth: StereoTruth) -> np.ndarray:
        """Which pixels (H, W) count."""
        counts = truth.visible.copy() if self.visible_only else np.isfinite(truth.disp)
        if self.below is not None:
            counts &= truth.disp < self.below
        if self.above is not None:
            counts &= truth.disp > self.above
        return counts


@dataclass(frozen=True)
class ConventionScore:
    """A data set counted by one convention."""

    convention: Convention
    images: int  # that were counted
    skipped: int  # that had too few pixels
    epe: float  # px
    outliers: float  # share; NaN where the convention has none


SCENEFLOW = (
    Convention(
        "PSMNet",
        "d < 192, occluded included, EPE = mean of batches of 8 (clean pass in its loader)",
        below=192,
        epe="batches",
        batch=8,
    ),
    Convention(
        "GwcNet",
        "0 < d < 192, occluded included, images with less than 10 % of such pixels skipped, D1; "
        "not cropped",
        below=192,
        above=0,
        min_share=0.1,
        outlier="d1",
    ),
    Convention(
        "RAFT-Stereo",
        "d < 192, occluded included, 400 images drawn with seed 1000, > 1 px pooled",
        below=192,
        outlier=1.0,
        outlier_mean="pixels",
        subset=400,
    ),
    Convention("IGEV", "d < 192, occluded included, > 3 px", below=192, outlier=3.0),
    Convention("GMStereo", "0 < d < 400, occluded included, D1", below=400, above=0, outlier="d1"),
    Convention(
        "STTR",
        "visible in both images and 0 < d <= width, no largest disparity, > 3 px pooled",
        above=0,
        visible_only=True,
        outlier=3.0,
        outlier_mean="pixels",
    ),
    Convention("all known pixels", "no rule: every known pixel, > 1 px", outlier=1.0),
)


def count_by(
    conventions: Sequence[Convention], disp: np.ndarray, truth: StereoTruth
) -> dict[str, DisparityCounts]:
    """The errors of one image under each convention; an image that is skipped counts no pixel."""
    found = {}
    for convention in conventions:
        counts = convention.mask(truth)
        if counts.mean() < convention.min_share:
            counts = np.zeros_like(counts)
        found[convention.name] = count_disparity(disp, truth.disp, counts)
    return found


def score_convention(
    convention: Convention, images: Sequence[Mapping[str, DisparityCounts]]
) -> ConventionScore:
    """All images, in the order of their paths, under one convention."""
    counts = [image[convention.name] for image in images]
    if convention.subset is not None and len(counts) > convention.subset:
        # RAFT-Stereo permutes with numpy's old generator, which alone gives its subset.
        order = np.random.RandomState(SUBSET_SEED).permutation(len(counts))
        counts = [counts[n] for n in order[: convention.subset]]
    full = [each for each in counts if each.pixels]
    epe = _reduced(counts, convention.epe, convention.batch, lambda score: score.epe)
    outliers = math.nan
    if convention.outlier is not None:
        figure = _outliers(convention.outlier)
        outliers = _reduced(counts, convention.outlier_mean, convention.batch, figure)
    return ConventionScore(convention, len(full), len(counts) - len(full), epe, outliers)


def _outliers(limit: float | Literal["d1"]) -> Callable[[DisparityScore], float]:
    if limit == "d1":
        return lambda score: score.d1
    place = BAD_PX.index(limit)
    return lambda score: score.bad[place]


def _reduced(
    counts: Sequence[DisparityCounts],
    how: Reduction,
    batch: int,
    figure: Callable[[DisparityScore], float],
) -> float:
    if how == "pixels":
        return figure(pooled(counts))
    if how == "images":
        return figure(mean_of_images(counts))
    batches = [pooled(counts[n : n + batch]) for n in range(0, len(counts), batch)]
    values = [figure(each) for each in batches if each.pixels]
    return math.fsum(values) / len(values) if values else math.nan
