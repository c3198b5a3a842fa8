from dataclasses import replace

import cv2
import numpy as np
import pytest

from eval.benchmarks import BENCHMARKS
from eval.methods import Method
from eval.pairs import HomographyTruth, ImagePair
from eval.runner import run
from matching.matches import Matches


class ShiftMatcher:
    """Knows that every image is the same; counts its calls, and may fail at one of them."""

    def __init__(self, fail_at=None, error=ValueError):
        self.calls, self.fail_at, self.error = 0, fail_at, error

    def match(self, _image0, _image1):
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error("cannot do this one")
        kpts = np.random.default_rng(0).uniform(0, 50, (30, 2)).astype(np.float32)
        return Matches(kpts, kpts, np.ones(30, np.float32))


@pytest.fixture
def benchmark_and_data(tmp_path):
    folder = tmp_path / "data" / "set"
    folder.mkdir(parents=True)
    path = folder / "image.png"
    cv2.imwrite(str(path), np.zeros((60, 80, 3), np.uint8))
    pairs = [ImagePair(str(n), path, path, HomographyTruth(np.eye(3))) for n in range(3)]
    return replace(BENCHMARKS["graf"], folder="set", read=lambda _: pairs), tmp_path / "data"


def as_method(matcher, identity="1"):
    return Method("fake", identity, lambda: matcher)


def test_right_matches_give_a_full_score(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    (result,) = run(benchmark, as_method(ShiftMatcher()), data, tmp_path)
    assert result.summary.auc == pytest.approx(dict.fromkeys(("1", "3", "5", "10"), 1), abs=1e-3)


def test_the_second_run_scores_the_file_without_the_matcher(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    first = run(benchmark, as_method(ShiftMatcher()), data, tmp_path)
    idle = ShiftMatcher()
    assert run(benchmark, as_method(idle), data, tmp_path)[0].scores == first[0].scores
    assert idle.calls == 0


def test_an_interrupted_run_goes_on_where_it_was(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    with pytest.raises(KeyboardInterrupt):
        run(benchmark, as_method(ShiftMatcher(fail_at=3, error=KeyboardInterrupt)), data, tmp_path)
    second = ShiftMatcher()
    (result,) = run(benchmark, as_method(second), data, tmp_path)
    assert (second.calls, result.summary.pairs) == (1, 3)


def test_changed_weights_are_predicted_afresh(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    run(benchmark, as_method(ShiftMatcher(), "weights 1"), data, tmp_path)
    changed = ShiftMatcher()
    run(benchmark, as_method(changed, "weights 2"), data, tmp_path)
    assert changed.calls == 3


def test_a_pair_that_cannot_be_matched_is_counted_with_its_reason(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    (result,) = run(benchmark, as_method(ShiftMatcher(fail_at=2)), data, tmp_path)
    assert result.summary.failed == 1
    assert result.scores[1].failure == "ValueError: cannot do this one"


def test_an_image_that_is_missing_stops_the_run(benchmark_and_data, tmp_path):
    benchmark, data = benchmark_and_data
    (data / "set" / "image.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image\.png"):
        run(benchmark, as_method(ShiftMatcher()), data, tmp_path)
