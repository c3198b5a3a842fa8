import numpy as np
import pytest
import torch

from data_scripts.train_loop import batches_from
from matching.data import PairBatches, PairSettings


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (160, 200, 3), dtype=np.uint8) for _ in range(4)]
    settings = PairSettings(sizes=((64, 96),), batch=2, scenes=0.5, negatives=0.25)
    return PairBatches(photos, settings, centre=3.5, seed=5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sizes": ()}, "sizes must be H W in pixels"),
        ({"sizes": ((64, 64), (0, 64))}, "sizes must be H W in pixels"),
        ({"batch": 0}, "batch must be 1 pair or more"),
        ({"scenes": 7.0}, "scenes must lie in"),
        ({"negatives": float("nan")}, "negatives must lie in"),
        ({"ramp": -1}, "ramp must be 0 batches or more"),
    ],
)
def test_settings_of_which_no_pairs_can_be_made_are_told(wrong, said):
    with pytest.raises(ValueError, match=said):
        PairSettings(**wrong)


def test_a_batch_has_the_shapes_it_promises(data):
    batch = data[0]
    assert batch.image0.shape == batch.image1.shape == (2, 1, 64, 96)
    assert batch.partner.shape == batch.known.shape == (2, 96)
    assert batch.target.shape == (2, 96, 2)
    assert batch.image0.min() >= 0
    assert batch.image0.max() <= 1


def test_the_same_number_gives_the_same_batch_and_another_number_another(data):
    assert all(
        torch.equal(a, b) for a, b in zip(*(vars(data[n]).values() for n in (3, 3)), strict=True)
    )
    assert not torch.equal(data[3].image0, data[4].image0)


def test_partners_are_where_the_targets_say(data):
    batches = [data[number] for number in range(6)]
    partner = torch.cat([batch.partner for batch in batches])
    target = torch.cat([batch.target for batch in batches])
    known = torch.cat([batch.known for batch in batches])
    true = partner >= 0
    assert true.any()
    assert known[true].all()
    middle = torch.stack([partner % 12, partner // 12], -1) * 8 + 3.5
    assert ((target - middle)[true].abs() <= 4.0).all()


def test_processes_share_the_stream_between_them(data):
    first = [batch.image0 for batch in batches_from(data, 0, 4, 2, workers=0)]
    second = [batch.image0 for batch in batches_from(data, 1, 4, 2, workers=0)]
    assert len(first) == len(second) == 2
    assert torch.equal(second[0], data[1].image0)
    assert torch.equal(first[1], data[2].image0)
