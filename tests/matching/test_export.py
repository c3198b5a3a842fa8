import csv

import h5py
import numpy as np
import pytest

from matching import export
from matching.export import PairInfo, write_matches
from matching.matches import Matches

RNG = np.random.default_rng(0)
PAIR = PairInfo("left, or\nso.png", "right.png", 480, 640, 1080, 1920)


def some_matches(count):
    kpts = RNG.random((2, count, 2), dtype=np.float32) * 1000
    return Matches(kpts[0], kpts[1], np.sort(RNG.random(count, dtype=np.float32))[::-1])


def read_h5(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file} | dict(file.attrs)


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name][()] for name in file}


def read_csv(path):
    lines = path.read_text().splitlines()
    notes = dict(line[2:].split(": ", 1) for line in lines if line.startswith("#"))
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    rows = np.array([[float(v) for v in row.values()] for row in table], np.float32).reshape(-1, 5)
    assert table.fieldnames == ["x0", "y0", "x1", "y1", "confidence"]
    fields = {"keypoints0": rows[:, :2], "keypoints1": rows[:, 2:4], "confidence": rows[:, 4]}
    return fields | {key: int(v) if v.isdigit() else v for key, v in notes.items()}


@pytest.mark.parametrize("count", [0, 1, 257])
@pytest.mark.parametrize(
    ("suffix", "read"),
    [(".h5", read_h5), (".npz", read_npz), (".csv", read_csv), (".HDF5", read_h5)],
)
def test_every_format_gives_back_every_field_to_the_last_bit(tmp_path, suffix, read, count):
    path, matches = tmp_path / f"matches{suffix}", some_matches(count)
    write_matches(path, matches, PAIR)
    found = read(path)
    for name, want in [
        ("keypoints0", matches.kpts0),
        ("keypoints1", matches.kpts1),
        ("confidence", matches.confidence),
    ]:
        np.testing.assert_array_equal(found[name], want)
        assert found[name].shape == want.shape
    assert found["image0"].split() == PAIR.image0.split()  # the CSV comment keeps it to one line
    assert (found["image1"], found["height0"], found["width1"]) == ("right.png", 480, 1920)
    assert found["version"] == export.product_version()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def write_half(path, **_):
    path.write_bytes(b"half a fi")
    raise OSError("disk full")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "matches.npz"
    write_matches(path, some_matches(3), PAIR)
    before = path.read_bytes()
    monkeypatch.setattr("matching.field_files.np.savez", write_half)
    with pytest.raises(OSError, match="disk full"):
        write_matches(path, some_matches(5), PAIR)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["matches.npz"]


def test_a_new_file_has_the_rights_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").touch()
    write_matches(tmp_path / "matches.csv", some_matches(1), PAIR)
    assert (tmp_path / "matches.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("matches.txt", ValueError, r"ends in .h5, .hdf5, .npz, .csv, got '.txt'"),
        ("matches", ValueError, "got 'none'"),
        ("nowhere/matches.h5", FileNotFoundError, "make it first"),
        ("folder.h5", ValueError, "got a folder"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(tmp_path, name, kind, words):
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(kind, match=words):
        write_matches(tmp_path / name, some_matches(1), PAIR)
