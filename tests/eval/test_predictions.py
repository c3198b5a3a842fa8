from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest

from eval.predictions import (
    DisparityPrediction,
    Prediction,
    PredictionStore,
    read_prediction,
    read_predictions,
)


def prediction(count=3, error=""):
    rng = np.random.default_rng(count)
    kpts0, kpts1 = rng.uniform(0, 100, (2, count, 2)).astype(np.float32)
    confidence = rng.uniform(size=count).astype(np.float32)
    return Prediction(
        kpts0, kpts1, confidence, (20, 30), (40, 50), (0.5, 0.25), (1.0, 2.0), 0.1, error
    )


def store(folder, identity="method 1"):
    return PredictionStore(folder, identity, {"benchmark": "strecha", "config": {"knob": 1}})


def test_what_is_written_is_read_again(tmp_path):
    kept = store(tmp_path)
    wrote = [prediction(3), prediction(0, error="ValueError: no")]
    for number, one in enumerate(wrote):
        kept.add(number, one)
    kept.finish(["a", "b"])
    names, got = zip(*read_predictions(kept.file, Prediction), strict=True)
    assert names == ("a", "b")
    for one, other in zip(wrote, got, strict=True):
        np.testing.assert_equal(asdict(other), asdict(one))
    assert read_prediction(kept.file, 1, Prediction)[1].error == "ValueError: no"
    with h5py.File(kept.file) as file:
        assert (file.attrs["benchmark"], file.attrs["config"]) == ("strecha", '{"knob": 1}')


def test_disparities_are_kept_exactly_even_where_there_are_none(tmp_path):
    kept = store(tmp_path)
    disp = np.random.default_rng(0).uniform(0, 200, (130, 170)).astype(np.float32)
    disp[3, 4] = np.nan
    wrote = DisparityPrediction(disp, (disp > 100).astype(np.float16), 0.5)
    kept.add(0, wrote)
    kept.finish(["a/b"])
    name, got = read_prediction(kept.file, 0, DisparityPrediction)
    assert name == "a/b"
    np.testing.assert_equal(asdict(got), asdict(wrote))


def test_pairs_done_before_an_interruption_are_kept(tmp_path):
    store(tmp_path).add(0, prediction())
    again = store(tmp_path)
    assert again.has(0)
    assert not again.has(1)
    assert not again.is_complete()


def test_a_pair_half_written_does_not_count(tmp_path):
    kept = store(tmp_path)
    with pytest.raises(TypeError):
        kept.add(0, replace(prediction(), error=object()))
    assert not store(tmp_path).has(0)


def test_predictions_of_another_method_are_not_used(tmp_path):
    kept = store(tmp_path)
    kept.add(0, prediction())
    kept.finish(["a"])
    assert store(tmp_path).is_complete()
    other = store(tmp_path, "method 2")
    assert not other.is_complete()
    assert not other.has(0)
    assert not other.file.exists()
