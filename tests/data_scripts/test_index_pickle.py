import pickle
import struct
import tracemalloc
from importlib import import_module
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
    refused_without_memory(path, r"promise\.npz must be a pickled dict of arrays")


def refused_without_memory(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_index(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


INDEX = {
    "paths": np.array(["a.jpg", None], dtype=object),
    "poses": np.array([np.eye(4), None], dtype=object),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "large": np.arange(2000),
    "swapped": np.arange(3, dtype=">i2"),
    "names": np.array(["a", "bcd"]),
    "none": np.zeros((0, 2), bool),
    "pairs": [((np.int64(0), np.str_("ä")), np.float32(0.25), b"", b"\xff")],
}
MOVED = {"multiarray": ("_reconstruct", "scalar"), "numeric": ("_frombuffer",)}


@pytest.mark.parametrize("core", ["core", "_core"])  # of numpy 1 and 2
@pytest.mark.parametrize("protocol", range(6))
def test_the_protocols_of_indices_are_read(tmp_path, monkeypatch, protocol, core):
    with monkeypatch.context() as patch:
        for module, names in MOVED.items():
            for name in names:
                function = getattr(import_module(f"numpy._core.{module}"), name)
                patch.setattr(function, "__module__", f"numpy.{core}.{module}")
                patch.setitem(vars(import_module(f"numpy.{core}.{module}")), name, function)
        content = pickle.dumps(INDEX, protocol)
    assert f"numpy.{core}.".encode() in content
    path = tmp_path / "index.npz"
    path.write_bytes(content)
    found = read_index(path)
    assert found.keys() == INDEX.keys()
    for name, wanted in INDEX.items():
        if isinstance(wanted, np.ndarray) and not wanted.dtype.hasobject:
            np.testing.assert_array_equal(found[name], wanted)
            assert found[name].shape == wanted.shape
    assert found["paths"].tolist() == ["a.jpg", None]
    np.testing.assert_array_equal(found["poses"][0], np.eye(4))
    assert found["pairs"] == INDEX["pairs"]
    again = pickle.loads(pickle.dumps(found))  # as workers are sent them
    assert type(again["turned"]) is np.ndarray
    np.testing.assert_array_equal(again["turned"], INDEX["turned"])


DTYPE = b"cnumpy\ndtype\n"
SCALAR = b"cnumpy._core.multiarray\nscalar\n"
VALUES = b"B" + struct.pack("<I", 200_000) + bytes(200_000)
SWAPPED = (
    DTYPE + b"X\2\0\0\0i1\x89\x88\x87R(K\3X\1\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
)
EMPTY = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"


@pytest.mark.parametrize(
    ("why", "content"),
    [
        # one value of 200 MB
        ("the dtype 'V200000000'", SCALAR + DTYPE + b"X\x0a\0\0\0V200000000\x85R\x85R"),
        ("1 required positional argument", SCALAR + DTYPE + b"X\x09\0\0\0S99999999\x85R\x85R"),
        # copies of the same bytes, of the same text and of the same list
        (
            "far more memory than its length",
            SWAPPED + b"q\0" + VALUES + b"q\1]("
            + 1000 * (EMPTY + b"(K\1J@\r\3\0\x85h\0\x89h\1tb") + b"e",
        ),
        (
            "far more memory than its length",
            b"X" + VALUES[1:] + b"q\1c_codecs\nencode\nq\0X\6\0\0\0latin1q\2]("
            + 1000 * b"h\0h\1h\2\x86R" + b"e",
        ),
        (
            "far more memory than its length",
            DTYPE + b"X\2\0\0\0O8\x85Rq\0](" + 50_000 * b"N" + b"eq\1]("
            + 400 * (EMPTY + b"(K\1JP\xc3\0\0\x85h\0\x89h\1tb") + b"e",
        ),
        # sizes that wrap round to that of the bytes
        (
            "an array of 1329227995784915872903807060280344576 has 0",
            EMPTY + b"(K\1(" + 4 * b"J\0\0\0@" + b"t" + SWAPPED + b"\x89C\0tb",
        ),
    ],
    ids=["void", "bare", "bytes", "text", "list", "wrapped"],
)  # fmt: skip
def test_a_short_file_does_not_become_large(tmp_path, why, content):
    path = tmp_path / "bomb.npz"
    path.write_bytes(b"\x80\3}X\1\0\0\0a" + content + b"s.")
    refused_without_memory(path, rf"bomb\.npz must be .*{why}")
