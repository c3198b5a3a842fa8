"""Robust estimators that turn matches into a relative pose or a homography: which one, and how set.

An estimator is part of the protocol: the same matches give other numbers under another one.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import cv2

METHODS = {"ransac": cv2.RANSAC, "magsac": cv2.USAC_MAGSAC}
NAMES = {
    "ransac": "OpenCV RANSAC",
    "magsac": "OpenCV USAC_MAGSAC",
    "poselib": "PoseLib LO-RANSAC",
}
Focal = Literal["mean4", "loftr"]


@dataclass(frozen=True)
class Estimator:
    """One robust estimator with all its settings."""

    method: Literal["ransac", "magsac", "poselib"]
    threshold_px: float  # inlier threshold, in pixels of the images that the protocol names
    confidence: float = 0.99999
    max_iterations: int = 10_000
    # Which focal length turns pixels into normalised coordinates for an essential matrix: the mean of all
    # four (glue-factory; RoMa's rule is the same), or the mean of fx of image 0 and fy of image 1 as in
    # LoFTR's and SuperGlue's code. PoseLib takes each camera's own.
    focal: Focal = "mean4"

    def __post_init__(self) -> None:
        if self.method not in NAMES:
            raise ValueError(f"method must be one of {tuple(NAMES)}, got {self.method!r}")
        if not self.threshold_px > 0:
            raise ValueError(f"threshold_px must be positive, got {self.threshold_px}")

    @property
    def flag(self) -> int:
        """OpenCV's number of the method."""
        return METHODS[self.method]

    @property
    def missing(self) -> str:
        """What to install before this estimator works; empty where nothing is missing."""
        if self.method == "poselib" and find_spec("poselib") is None:
            return "PoseLib is not installed: pip install 'quadview[poselib]'"
        return ""

    @property
    def short(self) -> str:
        """Name for a table, without the settings that seldom change."""
        name = "PoseLib" if self.method == "poselib" else self.method.upper()
        return f"{name} {self.threshold_px:g} px"

    def __str__(self) -> str:
        focal = "" if self.method == "poselib" else f", focal length rule {self.focal}"
        return (
            f"{NAMES[self.method]} {self.threshold_px:g} px (confidence {self.confidence:g}, at most "
            f"{self.max_iterations} iterations{focal})"
        )
