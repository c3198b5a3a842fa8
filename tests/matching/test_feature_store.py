import cv2
import numpy as np
import pytest
import torch

from data_scripts.attempts import FailedPair
from matching.feature_store import FeatureStore, StoreLimits
from matching.predictor import load_predictor

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def images(tmp_path):
    """Two textured images, one whose sides want padding, and a file that is none."""
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (96, 128)), ("b.png", (83, 101))):
        scene = rng.integers(0, 256, (12, 14), dtype=np.uint8)
        cv2.imwrite(
            str(tmp_path / name), cv2.resize(scene, size[::-1], interpolation=cv2.INTER_CUBIC)
        )
    (tmp_path / "c.png").write_bytes(b"no picture")
    return tmp_path


def store_of(predictor, images, memory_gb, folder="features"):
    limits = StoreLimits(memory_gb, disk_gb=1.0)
    return FeatureStore(predictor, images, NAMES, images / folder, limits, (0, 90))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_from_disk_give_the_same_matches_to_the_last_bit(images, dtype):
    predictor = load_predictor("small", dtype=dtype)
    kept, moved = store_of(predictor, images, 1.0, "no"), store_of(predictor, images, 0.0)
    for name in NAMES[:2]:
        moved.get(name)
    results = []
    for store in (kept, moved):
        # Each get() moves the image before it to disk.
        sides = [store.get(name) for name in NAMES[:2]]
        results.append(predictor.match(*sides, rotations=(0, 90)))
    assert len(list((images / "features").iterdir())) == 2
    assert (kept.extracted, moved.extracted) == (2, 2)
    for field in ("kpts0", "kpts1", "confidence"):
        np.testing.assert_array_equal(getattr(results[0], field), getattr(results[1], field))
    maps = [store.get("b.png").features for store in (kept, moved)]
    for turn in (0, 90):
        one, other = maps[0][turn], maps[1][turn]
        assert torch.equal(one.coarse, other.coarse)
        assert one.coarse.stride() == other.coarse.stride()
        assert one.coarse.dtype == other.coarse.dtype
        assert torch.equal(one.mask, other.mask)


def test_a_bad_image_is_read_once(images):
    store = store_of(load_predictor("small"), images, 1.0)
    first, again = store.get("c.png"), store.get("c.png")
    assert isinstance(first, FailedPair)
    assert first == again
    assert store.extracted == 1
    assert list(store.failures) == ["c.png"]


def test_a_broken_file_on_disk_is_made_again(images):
    predictor = load_predictor("small")
    store_of(predictor, images, 0.0)
    (images / "features").mkdir()
    (images / "features/00000000.safetensors").write_bytes(b"half")
    store = store_of(predictor, images, 1.0)
    assert store.get("a.png").size == (96, 128)
    assert store.extracted == 1


def test_limits_are_not_negative():
    with pytest.raises(ValueError, match="disk_gb must be 0 or more"):
        StoreLimits(1, -1)
    with pytest.raises(ValueError, match="memory_gb"):
        StoreLimits(float("nan"))
