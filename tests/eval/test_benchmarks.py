from dataclasses import replace

import pytest

from eval.benchmarks import BENCHMARKS, DEV
from tests.shared_data import shared

COUNTS = {"strecha": 84, "7scenes": 58, "scannet-sample": 5, "graf": 1, "oxford": 5}


@pytest.mark.parametrize("name", DEV)
def test_every_pair_of_the_development_sets_is_there(name):
    pairs = DEV[name].pairs(shared("data"))
    assert len(pairs) == COUNTS[name]
    assert all(path.is_file() for pair in pairs for path in (pair.image0, pair.image1))


def test_a_missing_data_set_says_which_folder_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="pose/strecha: no such folder; --data"):
        BENCHMARKS["strecha"].pairs(tmp_path)


def test_two_pairs_of_one_name_are_refused(tmp_path):
    (tmp_path / "pose/strecha").mkdir(parents=True)
    benchmark = replace(
        BENCHMARKS["graf"], folder="pose/strecha", read=lambda _: [_pair(), _pair()]
    )
    with pytest.raises(ValueError, match="two pairs have the same name"):
        benchmark.pairs(tmp_path)


def _pair():
    from eval.pairs import ImagePair

    return ImagePair("same", None, None, None)
