import json

import numpy as np
import pytest

from eval.auc import error_auc
from tests.shared_data import shared


@pytest.mark.parametrize(
    ("errors", "threshold", "want"),
    [
        # recall goes 0 -> 1/2 at 2 -> 1 at 4, then stays: (0.5 + 1.5 + 1.0) / 5
        ([4.0, 2.0], 5.0, 0.6),
        # recall goes 0 -> 1 at 4, then stays: (2 + 1) / 5
        ([4.0], 5.0, 0.6),
        # the second pair fails: recall goes 0 -> 1/2 at 4, then stays: (1 + 0.5) / 5
        ([4.0, np.inf], 5.0, 0.3),
        ([0.0, 0.0], 5.0, 1.0),
        ([np.inf, np.inf], 5.0, 0.0),
        # equal to the threshold does not count
        ([5.0], 5.0, 0.0),
    ],
)
def test_auc_by_hand(errors, threshold, want):
    assert error_auc(np.array(errors), threshold) == pytest.approx(want)


def test_auc_equals_the_official_implementations():
    for case in json.loads(shared("reference/metrics_auc.json").read_text()).values():
        got = [error_auc(np.array(case["errors"]), threshold) for threshold in (5, 10, 20)]
        assert got == pytest.approx(case["loftr"], abs=1e-9)
        assert got == pytest.approx(case["superglue"], abs=1e-9)


@pytest.mark.parametrize("errors", [[], [1.0, np.nan]])
def test_no_errors_or_nan_are_refused(errors):
    with pytest.raises(ValueError, match="errors must be"):
        error_auc(np.array(errors), 5.0)


def test_auc_at_threshold_zero_is_refused():
    with pytest.raises(ValueError, match="threshold must be positive"):
        error_auc(np.array([1.0]), 0.0)
