"""A COLMAP database (Schoenberger and Frahm 2016), written directly: cameras, images, matches, geometries.

The tables are those of COLMAP 3.6 to 3.11; newer versions bring them up to date when they open the file.
COLMAP has the corner of the top-left pixel at (0, 0), we have its centre there: half a pixel is added to key
points and principal points here, and nowhere else.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing
from matching.geometry import RobustSettings, estimate, fundamental_from_essential
from matching.keypoint_merging import IndexedPair, MergedScene

HALF_PIXEL = 0.5
LARGEST_ID = 2147483647  # of an image; COLMAP names a pair by first * LARGEST_ID + second
SIMPLE_RADIAL, PINHOLE = 2, 1  # numbers of camera models
CALIBRATED, UNCALIBRATED, PLANAR = 2, 3, 6  # numbers of configurations of two views
GUESSED_FOCAL = 1.2  # of the longer side, as COLMAP guesses it
FEWEST_INLIERS = 15  # COLMAP's own limit
PLANAR_SHARE = 0.8  # of inliers that a homography explains as well, as in COLMAP
TABLES = """
CREATE TABLE cameras (
    camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, params BLOB,
    prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (
    image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE,
    camera_id INTEGER NOT NULL, prior_qw REAL, prior_qx REAL, prior_qy REAL, prior_qz REAL,
    prior_tx REAL, prior_ty REAL, prior_tz REAL,
    CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < 2147483647),
    FOREIGN KEY(camera_id) REFERENCES cameras(camera_id));
CREATE UNIQUE INDEX index_name ON images(name);
CREATE TABLE keypoints (
    image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE descriptors (
    image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE matches (
    pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE two_view_geometries (
    pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB, qvec BLOB, tvec BLOB);
"""


@dataclass(frozen=True)
class CameraChoice:
    """What is known of the cameras.

    Args:
        intrinsics: fx, fy, cx, cy in pixels, the centre of the top-left pixel at (0, 0), of every image;
            None: guessed from the sizes, for COLMAP to refine.
        single: One camera took all images; with intrinsics it is so anyway.
    """

    intrinsics: tuple[float, float, float, float] | None = None
    single: bool = False


@dataclass(frozen=True)
class TwoViews:
    """A verified pair."""

    inliers: np.ndarray  # (M, 2) numbers of key points
    config: int
    matrices: dict[str, np.ndarray]  # F, E, H (3, 3), those that are known


@dataclass(frozen=True)
class DatabaseCounts:
    """What was written."""

    images: int
    pairs: int  # with matches
    verified: int  # of these, with a geometry


def write_colmap(
    path: Path,
    scene: MergedScene,
    camera: CameraChoice,
    settings: RobustSettings,
    *,
    progress: Iterable[IndexedPair] | None = None,
) -> DatabaseCounts:
    """Writes the database, whole or not at all, in the place of one that is there.

    Args:
        path: of the database.
        scene: images and pairs.
        camera: what is known of the cameras.
        settings: of the robust estimator that verifies pairs.
        progress: the pairs of the scene, through something that shows how far it is.

    Raises:
        ValueError: one camera for images of different sizes.
    """
    ids = {name: n for n, name in enumerate(scene.images, 1)}
    pairs = verified = 0
    # The connection is closed before the file is renamed.
    with replacing(path) as temporary, closing(sqlite3.connect(temporary)) as database:
        database.executescript(TABLES)
        _write_images(database, scene, camera, ids)
        for pair in scene.pairs if progress is None else progress:
            if not len(pair.index):
                continue
            pairs += 1
            verified += _write_pair(database, scene, pair, ids, camera, settings)
        database.commit()
    return DatabaseCounts(len(ids), pairs, verified)


def pair_id(first: int, second: int) -> int:
    """COLMAP's number of a pair of image numbers; the smaller one must come first."""
    if first >= second:
        raise ValueError(f"the smaller number must come first, got {first} and {second}")
    return first * LARGEST_ID + second


def verify(
    scene: MergedScene, pair: IndexedPair, camera: CameraChoice, settings: RobustSettings
) -> TwoViews | None:
    """The geometry of a pair in COLMAP's pixels, or None where too few matches agree on one."""
    points0, points1 = (
        scene.images[name].keypoints[pair.index[:, side]].astype(np.float64) + HALF_PIXEL
        for side, name in enumerate((pair.image0, pair.image1))
    )
    matrices: dict[str, np.ndarray] = {}
    if camera.intrinsics is None:
        found = estimate("fundamental", points0, points1, settings=settings)
        config, name = UNCALIBRATED, "F"
    else:
        K = _matrix(camera.intrinsics)
        found = estimate("essential", points0, points1, K, K, settings)
        config, name = CALIBRATED, "E"
        if found.matrix is not None:
            matrices["F"] = fundamental_from_essential(found.matrix, K, K)
    flat = estimate("homography", points0, points1, settings=settings)
    inliers = found.inliers
    if found.matrix is not None:
        matrices[name] = found.matrix
    if flat.matrix is not None and flat.inliers.sum() >= max(
        PLANAR_SHARE * inliers.sum(), FEWEST_INLIERS
    ):
        matrices["H"] = flat.matrix
        config = PLANAR
        inliers = inliers if inliers.sum() >= flat.inliers.sum() else flat.inliers
    if inliers.sum() < FEWEST_INLIERS:
        return None
    return TwoViews(pair.index[inliers], config, matrices)


def _write_images(
    database: sqlite3.Connection, scene: MergedScene, camera: CameraChoice, ids: dict[str, int]
) -> None:
    sizes = {image.size for image in scene.images.values()}
    one = camera.single or camera.intrinsics is not None
    if one and len(sizes) > 1:
        raise ValueError(
            f"one camera wants images of one size, got {len(sizes)} sizes; leave out --single-camera and "
            "--intrinsics, or export those images apart"
        )
    for name, number in ids.items():
        image = scene.images[name]
        camera_id = 1 if one else number
        if camera_id == number:
            database.execute(
                "INSERT INTO cameras VALUES (?, ?, ?, ?, ?, ?)",
                (camera_id, *_camera(image.size, camera)),
            )
        database.execute(
            "INSERT INTO images (image_id, name, camera_id) VALUES (?, ?, ?)",
            (number, name, camera_id),
        )
        points = np.ascontiguousarray(image.keypoints + HALF_PIXEL, dtype=np.float32)
        database.execute(
            "INSERT INTO keypoints VALUES (?, ?, ?, ?)", (number, *points.shape, points.tobytes())
        )


def _camera(size: tuple[int, int], camera: CameraChoice) -> Iterator[object]:
    """Model, width, height, parameters and whether the focal length is known."""
    H, W = size
    if camera.intrinsics is not None:
        K = _matrix(camera.intrinsics)
        params = K[[0, 1, 0, 1], [0, 1, 2, 2]]
        return iter((PINHOLE, W, H, params.tobytes(), 1))
    params = np.array([GUESSED_FOCAL * max(H, W), W / 2, H / 2, 0.0])
    return iter((SIMPLE_RADIAL, W, H, params.tobytes(), 0))


def _write_pair(
    database: sqlite3.Connection,
    scene: MergedScene,
    pair: IndexedPair,
    ids: dict[str, int],
    camera: CameraChoice,
    settings: RobustSettings,
) -> bool:
    """Writes matches, and the geometry where there is one: whether there was."""
    if ids[pair.image0] > ids[pair.image1]:
        pair = IndexedPair(pair.image1, pair.image0, pair.index[:, ::-1], pair.confidence)
    number = pair_id(ids[pair.image0], ids[pair.image1])
    database.execute("INSERT INTO matches VALUES (?, ?, ?, ?)", (number, *_blob(pair.index)))
    views = verify(scene, pair, camera, settings)
    if views is None:
        return False
    matrices = [
        views.matrices[name].astype(np.float64).tobytes() if name in views.matrices else None
        for name in ("F", "E", "H")
    ]
    database.execute(
        "INSERT INTO two_view_geometries (pair_id, rows, cols, data, config, F, E, H) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, *_blob(views.inliers), views.config, *matrices),
    )
    return True


def _blob(index: np.ndarray) -> tuple[int, int, bytes]:
    values = np.ascontiguousarray(index, dtype=np.uint32)
    return (*values.shape, values.tobytes())


def _matrix(intrinsics: tuple[float, float, float, float]) -> np.ndarray:
    """K (3, 3) in COLMAP's pixels."""
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx + HALF_PIXEL], [0, fy, cy + HALF_PIXEL], [0, 0, 1]], np.float64)
