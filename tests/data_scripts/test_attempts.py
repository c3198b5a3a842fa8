import pytest

from data_scripts.attempts import FailedPair, attempt


def fail():
    raise ValueError("wanted this,\n  got that")


def test_a_recorded_failure_keeps_its_words_in_one_line():
    assert attempt(fail, record=True) == FailedPair("wanted this, got that")
    assert attempt(lambda: 3, record=True) == 3
    with pytest.raises(ValueError, match="wanted this"):
        attempt(fail, record=False)
