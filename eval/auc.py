"""Area under the recall curve of errors, as the field computes it."""

import numpy as np


def error_auc(errors: np.ndarray, threshold: float) -> float:
    """Area under recall against error (N,) up to `threshold`, as a share of it, in [0, 1].

    Recall is i / N at the i-th smallest error and straight between; an error equal to the threshold
    does not count. The function of SuperGlue (Sarlin et al. 2020), LoFTR and RoMa. A failed estimate is
    an infinite error.

    Raises:
        ValueError: no errors, a NaN among them, or a threshold that is not positive.
    """
    errors = np.sort(np.asarray(errors, dtype=np.float64))
    if errors.ndim != 1 or len(errors) == 0 or np.isnan(errors).any():
        raise ValueError(
            f"errors must be (N,) with N > 0 and no NaN, got shape {errors.shape}; "
            "give a failed estimate as infinity"
        )
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    below = errors[: np.searchsorted(errors, threshold)]
    recall = np.arange(len(below) + 1) / len(errors)
    edges = np.concatenate([[0.0], below, [threshold]])
    return float(np.trapezoid(np.append(recall, recall[-1]), edges) / threshold)
