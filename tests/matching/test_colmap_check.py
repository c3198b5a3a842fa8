import sqlite3
from contextlib import closing

import numpy as np
import pytest

from matching import __main__ as command
from matching.colmap_check import COLUMNS, copy_checked
from matching.colmap_database import CameraChoice, write_colmap
from matching.geometry import RobustSettings
from matching.keypoint_merging import merge_scene
from matching.matches import Matches
from matching.shards import PairResult

SIZE = (480, 640)
LARGEST = 2147483647  # first image times this, plus the second one, is COLMAP's number of a pair


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Images 1 to 3 in a row, of 40 points at different depths; pairs 1 2 and 2 3."""
    rng = np.random.default_rng(0)
    points, depth = rng.uniform((100, 0), (600, 480), (40, 2)), rng.uniform(2, 9, 40)
    kpts = [
        np.column_stack([points[:, 0] - n * 90 / depth, points[:, 1]]).astype(np.float32)
        for n in range(3)
    ]
    sure = np.ones(40, np.float32)
    results = [
        PairResult(f"{i}.jpg", f"{i + 1}.jpg", SIZE, SIZE, Matches(kpts[i], kpts[i + 1], sure))
        for i in range(2)
    ]
    path = tmp_path_factory.mktemp("sound") / "a.db"
    write_colmap(path, merge_scene(results, 0.1), CameraChoice(), RobustSettings())
    return path.read_bytes()


@pytest.fixture
def database(tmp_path, content):
    (tmp_path / "a.db").write_bytes(content)
    return tmp_path / "a.db"


def rows(path):
    with closing(sqlite3.connect(path)) as database:
        return {
            table: database.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            for table, columns in COLUMNS.items()
        }


def tamper(path, *statements):
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_a_sound_database_is_copied_and_left_alone(database, tmp_path):
    before = database.read_bytes()
    assert copy_checked(database, tmp_path / "fresh.db") == 3
    assert database.read_bytes() == before
    copied = rows(tmp_path / "fresh.db")
    assert copied == rows(database)
    assert [len(copied[table]) for table in COLUMNS] == [3, 3, 3, 2, 2]


def test_what_colmap_adds_to_a_database_does_not_matter(database, tmp_path):
    tamper(
        database,
        "CREATE TABLE rigs (rig_id INTEGER PRIMARY KEY)",
        "ALTER TABLE two_view_geometries ADD COLUMN camera1 BLOB",
        "INSERT INTO descriptors VALUES (1, 9, 128, x'00')",
        "CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM images; END",
        "DELETE FROM matches",
        "UPDATE two_view_geometries SET rows = 0, cols = 0, data = NULL",
    )
    assert copy_checked(database, tmp_path / "fresh.db") == 3
    assert rows(tmp_path / "fresh.db")["matches"] == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE cameras SET model = 99", "model must be a number from 0 to 17, got 99"),
        ("UPDATE cameras SET width = -1", "width must be a number from 1"),
        ("UPDATE cameras SET height = 'tall'", "height must be a number"),
        ("UPDATE cameras SET params = x'00'", "params must have 32 bytes, got 1"),
        (f"UPDATE cameras SET params = x'{'ff' * 32}'", "params must be finite"),
        ("UPDATE images SET camera_id = 77 WHERE image_id = 2", "must have a camera, got 77"),
        ("UPDATE images SET name = '/etc/passwd' WHERE image_id = 2", "below the folder of images"),
        ("UPDATE images SET name = 'a/../../b.jpg' WHERE image_id = 2", "below the folder"),
        ("UPDATE images SET name = x'ff' WHERE image_id = 2", "must have a name"),
        ("UPDATE images SET name = CAST(x'ff' AS TEXT) WHERE image_id = 2", "decode to UTF-8"),
        ("UPDATE keypoints SET rows = rows + 1", "data must have 328 bytes, got 320"),
        ("UPDATE keypoints SET rows = 1 << 60", "rows must be a number from 0"),
        ("UPDATE keypoints SET cols = 3", "must have 2, 4 or 6 columns, got 3"),
        ("UPDATE keypoints SET image_id = 9 WHERE image_id = 1", "must be of an image"),
        (f"UPDATE keypoints SET data = x'{'ff' * 320}'", "data must be finite"),
        ("DELETE FROM keypoints WHERE image_id = 2", "name key points that are not there"),
        ("UPDATE matches SET rows = 41", "data must have 328 bytes, got 320"),
        ("UPDATE matches SET cols = 1", "cols must be a number from 2 to 2"),
        (f"UPDATE matches SET data = x'{'ff' * 320}'", "name key points that are not there"),
        (f"UPDATE matches SET pair_id = {LARGEST + 9} WHERE pair_id = {LARGEST + 2}", "two images"),
        (f"UPDATE matches SET pair_id = {LARGEST + 1} WHERE pair_id = {LARGEST + 2}", "1 and 1"),
        ("UPDATE two_view_geometries SET config = 40", "config must be a number from 0 to 8"),
        ("UPDATE two_view_geometries SET F = x'0000'", "F must have 72 bytes, got 2"),
        (f"UPDATE two_view_geometries SET F = x'{'ff' * 72}'", "F must be finite"),
        ("DROP TABLE matches", "there is no table matches"),
        ("ALTER TABLE matches RENAME COLUMN data TO date", "has no column data"),
    ],
)
def test_what_would_take_colmap_along_is_refused_in_one_line(database, tmp_path, statement, said):
    tamper(database, statement)
    with pytest.raises(ValueError, match=said) as raised:
        copy_checked(database, tmp_path / "fresh.db")
    assert str(raised.value).startswith(f"{database}: wanted a COLMAP database")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            (
                "DROP TABLE matches",
                "CREATE VIEW matches AS WITH RECURSIVE n(pair_id) AS (SELECT 1 UNION ALL "
                "SELECT pair_id + 1 FROM n) SELECT pair_id, 1 rows, 2 cols, x'' data FROM n",
            ),
            "there is no table matches",
        ),
        (
            (
                "ALTER TABLE matches RENAME COLUMN data TO old",
                "ALTER TABLE matches ADD COLUMN data BLOB AS (zeroblob(1 << 30))",
            ),
            "has no column data",
        ),
    ],
)
def test_tables_that_compute_are_not_asked(database, tmp_path, statements, said):
    tamper(database, *statements)
    with pytest.raises(ValueError, match=said):
        copy_checked(database, tmp_path / "fresh.db")


def test_a_database_that_another_program_writes_is_refused(database, tmp_path):
    database.with_name("a.db-wal").write_bytes(b"frames")
    with pytest.raises(ValueError, match="has not finished writing it"):
        copy_checked(database, tmp_path / "fresh.db")


def test_a_broken_database_is_one_line_and_code_2(database, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycolmap", object())  # is not reached
    tamper(database, "UPDATE keypoints SET rows = 7")
    words = ["--database", str(database), "--images", str(tmp_path), "--out", str(tmp_path / "out")]
    assert command.main(["reconstruct", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data must have 56 bytes, got 320" in line
    assert list((tmp_path / "out").iterdir()) == []
