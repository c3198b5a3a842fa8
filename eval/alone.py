"""Our networks alone: `--method eval.alone:small` of stereo without semi-global matching, `--method
eval.alone:matcher` of matching at one look and without polish.
"""

from functools import cache

import numpy as np

from matching.predictor import MatchPredictor
from matching.predictor import load_predictor as load_matcher
from stereo.predictor import StereoPredictor, load_predictor


def small(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disparity in px and occlusion, (H, W) each, of two RGB images (H, W, 3)."""
    found = _predictor().predict(left, right)
    return found.disparity, found.occlusion


@cache
def _predictor() -> StereoPredictor:
    return load_predictor("small", semi_global=False)


def matcher(image0: np.ndarray, image1: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 2), (N, 2) and confidence (N,) of two RGB images (H, W, 3): one look, no polish."""
    found = _matcher().match(image0, image1, second_look=0, align=False, polish=False)
    return found.kpts0, found.kpts1, found.confidence


@cache
def _matcher() -> MatchPredictor:
    return load_matcher("small", long_side=None)
