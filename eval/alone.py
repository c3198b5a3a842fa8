"""`small` by its network alone, without semi-global matching: `--method eval.alone:small`."""

from functools import cache

import numpy as np

from stereo.predictor import StereoPredictor, load_predictor


def small(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Disparity (H, W) in px of two RGB images (H, W, 3)."""
    return _predictor().predict(left, right).disparity


@cache
def _predictor() -> StereoPredictor:
    return load_predictor("small", semi_global=False)
