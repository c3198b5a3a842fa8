import pickle
import tracemalloc
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


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04B\xff\xff\xff\x7f.",  # bytes
        b"\x80\x04\x8e\xff\xff\xff\xff\x01\x00\x00\x00.",  # bytes with a length of 8 bytes
        b"\x80\x04X\xff\xff\xff\x7f.",  # text
        b"\x80\x04\x95\xff\xff\xff\xff\x01\x00\x00\x00.",  # frame
        b"\x80\x04}r\xff\xff\xff\x0f.",  # place in the memo
        b"(dp268435455\n.",
    ],
)
def test_lengths_that_the_file_does_not_hold_ask_for_no_memory(tmp_path, content):
    path = tmp_path / "promise.npz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"promise\.npz must be a pickled dict of arrays"):
            read_index(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", [3, 4])  # what numpy.savez writes, and pickle by itself
def test_the_protocols_of_indices_are_read(tmp_path, protocol):
    path = tmp_path / "index.npz"
    path.write_bytes(pickle.dumps({"poses": np.eye(4), "name": "ä"}, protocol))
    np.testing.assert_array_equal(read_index(path)["poses"], np.eye(4))
