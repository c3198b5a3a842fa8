"""Robust estimators that turn matches into a relative pose or a homography: which one, and how set.

An estimator is part of the protocol: the same matches give other numbers under another one.
"""

from dataclasses import dataclass
from typing import Literal

import cv2

METHODS = {"ransac": cv2.RANSAC, "magsac": cv2.USAC_MAGSAC}
Focal = Literal["mean4", "loftr"]


class NoEstimateError(RuntimeError):
    """The estimator found nothing; the message says why. Counts as a failed pair."""


@dataclass(frozen=True)
class Estimator:
    """One robust estimator of OpenCV with all its settings."""

    method: Literal["ransac", "magsac"]
    threshold_px: float  # inlier threshold, in pixels of the images that were matched
    confidence: float = 0.99999
    max_iterations: int = 10_000
    # Which focal length turns pixels into normalised coordinates for an essential matrix: the mean of all
    # four, or the mean of fx of image 0 and fy of image 1 as in LoFTR's and SuperGlue's code.
    focal: Focal = "mean4"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {tuple(METHODS)}, got {self.method!r}")
        if not self.threshold_px > 0:
            raise ValueError(f"threshold_px must be positive, got {self.threshold_px}")

    @property
    def flag(self) -> int:
        """OpenCV's number of the method."""
        return METHODS[self.method]

    @property
    def short(self) -> str:
        """Name for a table, without the settings that seldom change."""
        return f"{self.method.upper()} {self.threshold_px:g} px"

    def __str__(self) -> str:
        names = {"ransac": "OpenCV RANSAC", "magsac": "OpenCV USAC_MAGSAC"}
        return (
            f"{names[self.method]} {self.threshold_px:g} px (confidence {self.confidence:g}, at most "
            f"{self.max_iterations} iterations, focal length rule {self.focal})"
        )
