import io
import zipfile

import h5py
import numpy as np
import pytest

from data_scripts.untrusted import (
    ALWAYS_FINE,
    MOST_PACKED,
    check_heaps,
    check_size,
    open_untrusted_h5,
    read_h5_array,
    read_json_rows,
    read_npy,
    read_npz,
    told_as,
)


def header(shape, dtype="<f8"):
    """The beginning of an .npy file that promises `shape`."""
    stream = io.BytesIO()
    facts = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def test_arrays_come_back_in_both_orders(tmp_path):
    path = tmp_path / "a.npz"
    table = np.arange(6.0).reshape(2, 3)
    np.savez_compressed(path, plain=table, turned=np.asfortranarray(table), word=np.array("x"))
    found = read_npz(path)
    np.testing.assert_array_equal(found["plain"], table)
    np.testing.assert_array_equal(found["turned"], table)
    assert found["word"] == "x"
    np.save(tmp_path / "a.npy", table.T)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), table.T)


@pytest.mark.parametrize("shape", [(10**12,), (2**40, 2**40), (-1,), (3,)])
def test_an_array_that_promises_more_than_its_bytes_is_refused(tmp_path, shape):
    path = tmp_path / "a.npy"
    path.write_bytes(header(shape) + b"\0" * 8)
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", header(shape) + b"\0" * 8)
    with pytest.raises(ValueError, match=r"a\.npz: wanted"):
        read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled"):
        read_npy(tmp_path / "a.npy")


def test_a_dataset_without_the_bytes_for_its_shape_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", shape=(2**20, 2**20), dtype="f4", chunks=(64, 64))
        file.create_dataset("honest", data=np.zeros(10**6), compression="gzip")
        file.create_group("group")
        file.create_dataset("elsewhere", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    with h5py.File(path) as file:
        assert read_h5_array(file["honest"], path).size == 10**6
        with pytest.raises(ValueError, match="promises"):
            read_h5_array(file["huge"], path)
        with pytest.raises(ValueError, match="got Group"):
            read_h5_array(file["group"], path)
        with pytest.raises(ValueError, match="link to another"):
            read_h5_array(file["elsewhere"], path)


def test_the_bound_of_sizes():
    check_size(ALWAYS_FINE, 1, "x")
    check_size(MOST_PACKED * 10_000, 10_000, "x")
    with pytest.raises(ValueError, match="cannot hold"):
        check_size(MOST_PACKED * 10_000 + 1, 10_000, "x")


@pytest.mark.parametrize("error", [KeyError("k"), MemoryError(), RuntimeError("two\nlines")])
def test_every_fault_is_one_line_that_names_the_file(error):
    with (
        pytest.raises(ValueError, match=r"^some/file: wanted a map, got") as told,
        told_as("some/file", "a map"),
    ):
        raise error
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is error


def test_what_is_told_well_already_goes_through():
    with pytest.raises(ValueError, match=r"^some/file: no good$"), told_as("some/file", "a map"):
        raise ValueError("some/file: no good")
    with pytest.raises(FileNotFoundError), told_as("some/file", "a map"):
        raise FileNotFoundError("some/file")


def test_objects_of_a_json_list_come_back(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text('[{"image0": "ä.png"}, {}]', encoding="utf-8")
    assert read_json_rows(path) == [{"image0": "ä.png"}, {}]
    path.write_text("[]")
    assert read_json_rows(path) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[", "Expecting value"),
        (b"{}", "wanted a list of things, got dict"),
        (b"[{}, 3]", "wanted a list of things, each an object, got int in place 1"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "RecursionError"),
    ],
)
def test_what_is_no_list_of_objects_is_told_in_one_line(tmp_path, content, said):
    path = tmp_path / "pairs.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as told:
        read_json_rows(path, "a list of things")
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_a_heap_without_an_end_is_refused_before_the_library_walks_it(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["name"] = "a text of variable length"
    with open_untrusted_h5(path) as file:
        assert file.attrs["name"] == "a text of variable length"
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    free = data.index(b"\0" * 8, heap + 24)  # the object after the text: free space and its size
    number = next(
        place
        for place in range(heap + 16 + 16 + 32, free + 64, 8)
        if data[place : place + 8] == b"\0" * 8
    )
    data[number + 8 : number + 16] = b"\0" * 8
    with pytest.raises(ValueError, match="heap without an end"):
        check_heaps(bytes(data), "a.h5")
