"""`small` by its network alone, without semi-global matching: `--method eval.alone:small`."""

from functools import cache

import numpy as np

from stereo.predictor import StereoPredictor, load_predictor


def small(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disparity in px and occlusion, (H, W) each, of two RGB images (H, W, 3)."""
    found = _predictor().predict(left, right)
    return found.disparity, found.occlusion


@cache
def _predictor() -> StereoPredictor:
    return load_predictor("small", semi_global=False)
