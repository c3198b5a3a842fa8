import pickle
from pathlib import Path

import numpy as np
import pytest

from data_scripts.index_pickle import read_index


def test_arrays_of_objects_and_plain_values_come_back(tmp_path):
    index = {
        "paths": np.array(["a.jpg", None], dtype=object),
        "poses": np.array([np.eye(4), None], dtype=object),
        "pairs": [((np.int64(0), 1), 0.25)],
    }
    path = tmp_path / "index.npz"
    path.write_bytes(pickle.dumps(index))
    found = read_index(path)
    assert found["paths"].tolist() == ["a.jpg", None]
    np.testing.assert_array_equal(found["poses"][0], np.eye(4))
    assert found["pairs"] == [((0, 1), 0.25)]


class Hostile:
    """Would make a file when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_that_calls_anything_else_is_refused_and_not_run(tmp_path):
    path, target = tmp_path / "hostile.npz", tmp_path / "made"
    path.write_bytes(pickle.dumps({"poses": Hostile(target)}))
    with pytest.raises(ValueError, match=r"hostile\.npz must be a pickled dict of arrays"):
        read_index(path)
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04]", b"no pickle", pickle.dumps([1, 2])])
def test_files_that_are_no_index_are_named(tmp_path, content):
    path = tmp_path / "wrong.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"wrong\.npz must"):
        read_index(path)
