import pytest

from eval.estimators import Estimator


def test_the_protocol_is_in_the_text():
    text = str(Estimator("ransac", 0.5, confidence=0.999, max_iterations=77, focal="loftr"))
    assert all(part in text for part in ("RANSAC", "0.5 px", "0.999", "77", "loftr"))


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"ransac.*magsac.*'lmeds'"):
        Estimator("lmeds", 1.0)


def test_threshold_must_be_positive():
    with pytest.raises(ValueError, match="threshold_px"):
        Estimator("ransac", 0.0)
