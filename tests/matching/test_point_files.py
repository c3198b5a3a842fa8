import csv

import h5py
import numpy as np
import pytest

from matching.export import PairInfo
from matching.point_files import read_points, write_points, write_tracks
from matching.point_prediction import PointMatches, as_points
from matching.point_tracks import Tracks

POINTS = np.array([[1.5, 2], [300, 4.25]])
FOUND = PointMatches(
    np.array([[7, 8.5], [np.nan, np.nan]], np.float32),
    np.array([0.75, 0.25], np.float32),
    np.array([True, False]),
)
PAIR = PairInfo("a.png", "b\nc.png", 10, 20, 30, 40)


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2\n300,4.25\n",
        "x,y\n1.5,2\n300,4.25",
        "# a list\nx;y;name\n\n1.5; 2; nose\n300;4.25;ear # the left one\n",
        "\ufeff1.5 2\r\n300\t4.25\r\n",
    ],
)
def test_points_are_read_from_text_of_many_habits(text, tmp_path):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), POINTS)


def test_points_are_read_from_numpy_files_and_nan_stays(tmp_path):
    np.save(tmp_path / "p.npy", POINTS)
    np.savez(tmp_path / "one.npz", whatever=POINTS)
    np.savez(tmp_path / "two.npz", points=POINTS, other=1)
    for name in ("p.npy", "one.npz", "two.npz"):
        np.testing.assert_array_equal(read_points(tmp_path / name), POINTS)
    (tmp_path / "p.txt").write_text("nan nan\n")
    assert np.isnan(read_points(tmp_path / "p.txt")).all()
    (tmp_path / "p.txt").write_text("")
    assert read_points(tmp_path / "p.txt").shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", b"1,2\nthree,4\n", "line 2: wanted x and y in pixels, got 'three,4'"),
        ("p.csv", b"a,b\nc,d\n", "line 2: wanted"),
        ("p.csv", b"1\n2\n", "line 2: wanted x and y"),
        ("p.csv", b"\xff\xfe\x00", "wanted text"),
        ("p.jpg", b"1,2", "wanted a list of points"),
        ("p.npy", b"none", "wanted points"),
        ("p.npz", b"PK\x03\x04", "wanted points"),
    ],
)
def test_what_are_no_points_is_told_in_one_line(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as told:
        read_points(tmp_path / name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", [bool, complex, object, str])
def test_what_are_no_real_numbers_are_no_points(kind):
    with pytest.raises(TypeError, match="points must be numbers"):
        as_points(np.ones((3, 2)).astype(kind))


def test_a_pickle_is_never_read(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled objects"):
        read_points(tmp_path / "p.npy")
    np.save(tmp_path / "p.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"must be \(N, 2\)"):
        read_points(tmp_path / "p.npy")


def test_found_points_are_written_in_every_format(tmp_path):
    for name in ("o.csv", "o.h5", "o.npz"):
        write_points(tmp_path / name, POINTS, FOUND, PAIR)
    with h5py.File(tmp_path / "o.h5") as file, np.load(tmp_path / "o.npz") as saved:
        for source in (file, saved):
            np.testing.assert_array_equal(source["points0"][()], POINTS)
            np.testing.assert_array_equal(source["points1"][()], FOUND.points1)
            np.testing.assert_array_equal(source["visible"][()], FOUND.visible)
        assert file.attrs["width1"] == 40
    lines = (tmp_path / "o.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["visible"] for row in rows] == ["1", "0"]
    assert rows[0]["x1"] == "7"
    assert rows[1]["x1"] == "nan"


def test_tracks_are_written_as_rows_and_arrays(tmp_path):
    places = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    places[1, 0] = np.nan
    tracks = Tracks(("a", "b"), places, np.ones((2, 3), np.float32))
    write_tracks(tmp_path / "t.npz", tracks)
    write_tracks(tmp_path / "t.csv", tracks)
    with np.load(tmp_path / "t.npz") as saved:
        np.testing.assert_array_equal(saved["points"], places)
        assert saved["frames"].tolist() == ["a", "b"]
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert rows[3] == {"frame": "b", "point": "0", "x": "nan", "y": "nan", "confidence": "1"}
