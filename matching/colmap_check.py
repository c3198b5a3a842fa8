"""COLMAP databases from strangers: what is sound in one goes into a fresh one, which COLMAP may open.

COLMAP trusts its databases: sizes that do not fit their blobs and indices past the last key point take the
process with them. So no byte of a given file reaches it; cameras, images, key points, matches and geometries
are read, checked and written anew, and the given file stays as it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np

from data_scripts.untrusted import told_as
from matching.colmap_database import LARGEST_ID, TABLES

# Numbers of parameters of the camera models 0, 1, 2...: COLMAP's src/colmap/sensor/models.h, version 4.
PARAMETERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12, 16, 4, 5, 3, 4, 6, 2)
LARGEST_SIDE = 2**16  # px of an image
KEYPOINT_COLUMNS = (2, 4, 6)  # x, y; with scale and orientation; with an affine shape
LAST_CONFIG = 8  # of two views
STEP = 1000  # of SQLite's machine, between looks at how many there were
STEPS_PER_BYTE = 100  # honest tables take a few
COLUMNS = {
    "cameras": ("camera_id", "model", "width", "height", "params", "prior_focal_length"),
    "images": ("image_id", "name", "camera_id"),
    "keypoints": ("image_id", "rows", "cols", "data"),
    "matches": ("pair_id", "rows", "cols", "data"),
    "two_view_geometries": (
        "pair_id", "rows", "cols", "data", "config", "F", "E", "H", "qvec", "tvec",
    ),
}  # fmt: skip
FLOATS = {"F": 9, "E": 9, "H": 9, "qvec": 4, "tvec": 3}  # float64 in a blob, or NULL


def copy_checked(source: Path, target: Path) -> int:
    """Writes what is sound in a database into a fresh one; the number of its images.

    Rigs, frames, descriptors and pose priors are left out.

    Args:
        source: the given database; it is only read.
        target: of the fresh one; nothing may be there.

    Raises:
        FileNotFoundError: there is no `source`.
        ValueError: it is no sound COLMAP database; one line that names it.
    """
    log = source.with_name(f"{source.name}-wal")
    if log.exists() and log.stat().st_size:
        raise ValueError(
            f"{source}: another program has not finished writing it ({log.name} lies beside it); close "
            "that program, or open the database with COLMAP once"
        )
    with (
        told_as(source, "a COLMAP database"),
        closing(_opened(source)) as given,
        closing(sqlite3.connect(target)) as fresh,
    ):
        _check_schema(given)
        fresh.executescript(TABLES)
        cameras = _copy_cameras(given, fresh)
        images = _copy_images(given, fresh, cameras)
        counts = dict.fromkeys(images, 0) | _copy_keypoints(given, fresh, images)
        for table in ("matches", "two_view_geometries"):
            _copy_pairs(given, fresh, table, counts)
        fresh.commit()
    return len(images)


def _opened(path: Path) -> sqlite3.Connection:
    size = path.stat().st_size
    # Immutable: no journal beside the file is played back, and no lock is taken.
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 2**16))
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    looks = 0

    def enough() -> bool:
        nonlocal looks
        looks += 1
        return looks * STEP > max(STEPS_PER_BYTE * size, 10**7)

    database.set_progress_handler(enough, STEP)
    return database


def _check_schema(database: sqlite3.Connection) -> None:
    """Raises unless the tables are plain ones, and every page of the file has one place."""
    kinds = dict(database.execute("SELECT name, type FROM sqlite_master WHERE rootpage > 0"))
    for table, columns in COLUMNS.items():
        if kinds.get(table) != "table":
            raise ValueError(f"there is no table {table}")
        # A column that is computed would run what its author likes.
        plain = [row[1] for row in database.execute(f"PRAGMA table_xinfo({table})") if not row[6]]
        missing = [column for column in columns if column not in plain]
        if missing:
            raise ValueError(f"the table {table} has no column {missing[0]}")
    ((answer,),) = database.execute("PRAGMA quick_check(1)").fetchmany(1)
    if answer != "ok":
        raise ValueError(str(answer))


def _rows(database: sqlite3.Connection, table: str) -> Iterator[dict[str, object]]:
    columns = COLUMNS[table]
    # Names are those above, nothing of the file.
    for row in database.execute(f"SELECT {', '.join(columns)} FROM {table}"):
        yield dict(zip(columns, row, strict=True))


def _insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    columns = COLUMNS[table]
    marks = ", ".join("?" * len(columns))
    database.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",
        [row[column] for column in columns],
    )


def _whole(row: dict[str, object], key: str, first: int, last: int) -> int:
    value = row[key]
    if not isinstance(value, int) or not first <= value <= last:
        raise ValueError(f"{key} must be a number from {first} to {last}, got {value!r:.40}")
    return value


def _numbers(row: dict[str, object], key: str, dtype: str, count: int) -> np.ndarray:
    """The numbers in a blob, finite where they may be something else."""
    data = row[key] if row[key] is not None else b""
    wanted = count * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        got = len(data) if isinstance(data, bytes) else type(data).__name__
        raise ValueError(f"{key} must have {wanted} bytes, got {got}")
    values = np.frombuffer(data, dtype)
    if not np.isfinite(values).all():
        raise ValueError(f"{key} must be finite")
    return values


def _copy_cameras(given: sqlite3.Connection, fresh: sqlite3.Connection) -> set[int]:
    cameras = set()
    for row in _rows(given, "cameras"):
        cameras.add(_whole(row, "camera_id", 1, LARGEST_ID - 1))
        model = _whole(row, "model", 0, len(PARAMETERS) - 1)
        _whole(row, "prior_focal_length", 0, 1)
        for side in ("width", "height"):
            _whole(row, side, 1, LARGEST_SIDE)
        _numbers(row, "params", "<f8", PARAMETERS[model])
        _insert(fresh, "cameras", row)
    return cameras


def _copy_images(
    given: sqlite3.Connection, fresh: sqlite3.Connection, cameras: set[int]
) -> list[int]:
    images = []
    for row in _rows(given, "images"):
        images.append(_whole(row, "image_id", 1, LARGEST_ID - 1))
        name = row["name"]
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(f"image {images[-1]} must have a name, got {name!r:.40}")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"image {name!r:.80} must lie below the folder of images")
        if row["camera_id"] not in cameras:
            raise ValueError(f"image {name!r:.80} must have a camera, got {row['camera_id']!r:.40}")
        _insert(fresh, "images", row)
    return images


def _copy_keypoints(
    given: sqlite3.Connection, fresh: sqlite3.Connection, images: list[int]
) -> dict[int, int]:
    """Numbers of key points by image."""
    counts = {}
    known = set(images)
    for row in _rows(given, "keypoints"):
        image = _whole(row, "image_id", 1, LARGEST_ID - 1)
        if image not in known:
            raise ValueError(f"key points must be of an image, got those of {image}")
        if row["cols"] not in KEYPOINT_COLUMNS:
            raise ValueError(f"key points must have 2, 4 or 6 columns, got {row['cols']!r:.40}")
        columns = _whole(row, "cols", 2, 6)
        counts[image] = _whole(row, "rows", 0, LARGEST_ID)
        _numbers(row, "data", "<f4", columns * counts[image])
        _insert(fresh, "keypoints", row)
    return counts


def _copy_pairs(
    given: sqlite3.Connection, fresh: sqlite3.Connection, table: str, counts: dict[int, int]
) -> None:
    """Matches, or geometries with those that they leave."""
    for row in _rows(given, table):
        number = _whole(row, "pair_id", 0, LARGEST_ID**2)
        first, second = divmod(number, LARGEST_ID)
        if first == second or not {first, second} <= counts.keys():
            raise ValueError(f"{table} must be of two images, got those of {first} and {second}")
        matches = _whole(row, "rows", 0, LARGEST_ID)
        if matches:
            _whole(row, "cols", 2, 2)
        index = _numbers(row, "data", "<u4", 2 * matches).reshape(-1, 2)
        if (index >= [counts[first], counts[second]]).any():
            raise ValueError(f"{table} of {first} and {second} name key points that are not there")
        if table == "two_view_geometries":
            _whole(row, "config", 0, LAST_CONFIG)
            for key, count in FLOATS.items():
                if row[key] is not None:
                    _numbers(row, key, "<f8", count)
        _insert(fresh, table, row)
