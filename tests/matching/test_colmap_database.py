import sqlite3

import cv2
import numpy as np
import pytest

from matching import __main__ as command
from matching.colmap_database import CameraChoice, pair_id, write_colmap
from matching.geometry import RobustSettings
from matching.keypoint_merging import merge_scene
from matching.matches import Matches
from matching.shards import PairResult, shard_path, write_shard

SIZE = (480, 640)  # height, width
INTRINSICS = (600.0, 610.0, 315.0, 242.0)
K = np.array([[600.0, 0, 315], [0, 610, 242], [0, 0, 1]])
NAMES = ("in/a.jpg", "in/b.jpg", "c.jpg")
COUNT = 150


def projected(points, number):
    """Pixels of points in space in image `number`, whose camera stands further right and turns left."""
    R = cv2.Rodrigues(np.array([0.01 * number, -0.06 * number, 0.02 * number]))[0]
    pixels = (points @ R.T + (-0.5 * number, 0.05 * number, 0)) @ K.T
    return pixels[:, :2] / pixels[:, 2:]


@pytest.fixture
def results():
    """Three images of one cloud of points; every pair sees all of them, and 20 wrong matches."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1.0, -0.8, 4], [1.0, 0.8, 7], (COUNT, 3))
    kpts = [projected(points, number).astype(np.float32) for number in range(3)]
    found = []
    for first, second in ((0, 1), (2, 0), (1, 2)):
        wrong = rng.uniform(0, 480, (2, 20, 2)).astype(np.float32)
        # Each pair finds the point of its second image a little beside itself.
        beside = rng.normal(0, 0.1, (COUNT, 2)).astype(np.float32)
        matches = Matches(
            np.concatenate([kpts[first], wrong[0]]),
            np.concatenate([kpts[second] + beside, wrong[1]]),
            np.linspace(0.9, 0.3, COUNT + 20, dtype=np.float32),
        )
        found.append(PairResult(NAMES[first], NAMES[second], SIZE, SIZE, matches))
    return found


def written(path, results, camera):
    return write_colmap(path, merge_scene(results, 1.0), camera, RobustSettings(threshold_px=2.0))


def test_half_a_pixel_is_added_once_to_points_and_principal_points(tmp_path, results):
    scene = merge_scene(results, 1.0)
    counts = written(tmp_path / "a.db", results, CameraChoice(INTRINSICS))
    assert (counts.images, counts.pairs, counts.verified) == (3, 3, 3)
    with sqlite3.connect(tmp_path / "a.db") as database:
        rows = database.execute("SELECT name, rows, cols, data FROM images NATURAL JOIN keypoints")
        for name, count, columns, data in rows:
            stored = np.frombuffer(data, np.float32).reshape(count, columns)
            np.testing.assert_array_equal(stored, scene.images[name].keypoints + np.float32(0.5))
        ((model, width, height, params, prior),) = database.execute(
            "SELECT model, width, height, params, prior_focal_length FROM cameras"
        )
    database.close()
    assert (model, width, height, prior) == (1, 640, 480, 1)
    assert np.frombuffer(params).tolist() == [600, 610, 315.5, 242.5]


def test_geometries_hold_for_their_inliers_and_leave_out_wrong_matches(tmp_path, results):
    scene = merge_scene(results, 1.0)
    ids = {name: n for n, name in enumerate(sorted(NAMES), 1)}
    for camera in (CameraChoice(), CameraChoice(INTRINSICS)):
        written(tmp_path / "a.db", results, camera)
        with sqlite3.connect(tmp_path / "a.db") as database:
            rows = database.execute(
                "SELECT pair_id, rows, data, config, F FROM two_view_geometries"
            ).fetchall()
        database.close()
        assert len(rows) == 3
        for number, count, data, config, F in rows:
            assert config == (3 if camera.intrinsics is None else 2)
            first = next(
                a for a in ids for b in ids if ids[a] < ids[b] and pair_id(ids[a], ids[b]) == number
            )
            second = next(
                b for b in ids if ids[b] > ids[first] and pair_id(ids[first], ids[b]) == number
            )
            index = np.frombuffer(data, np.uint32).reshape(count, 2)
            assert COUNT * 0.9 <= count <= COUNT + 6
            homogeneous = [
                np.column_stack(
                    [scene.images[name].keypoints[index[:, side]] + 0.5, np.ones(count)]
                )
                for side, name in enumerate((first, second))
            ]
            lines = homogeneous[0] @ np.frombuffer(F).reshape(3, 3).T
            distance = np.abs((lines * homogeneous[1]).sum(1)) / np.linalg.norm(
                lines[:, :2], axis=1
            )
            assert np.median(distance) < 0.5


def test_pairs_that_agree_on_nothing_have_matches_and_no_geometry(tmp_path):
    rng = np.random.default_rng(1)
    kpts = rng.uniform(0, 480, (2, 30, 2)).astype(np.float32)
    few = Matches(kpts[0], kpts[1], np.ones(30, np.float32))
    empty = Matches(kpts[0][:0], kpts[1][:0], np.ones(0, np.float32))
    results = [
        PairResult("a", "b", SIZE, SIZE, few),
        PairResult("a", "c", SIZE, SIZE, empty),
        PairResult.failed(("a", "d"), error1="gone"),
    ]
    counts = written(tmp_path / "a.db", results, CameraChoice())
    assert (counts.images, counts.pairs, counts.verified) == (3, 1, 0)


def test_one_camera_wants_one_size(tmp_path, results):
    other = PairResult("d", "e", (10, 10), (10, 10), results[0].matches)
    with pytest.raises(ValueError, match="one camera wants images of one size"):
        written(tmp_path / "a.db", [*results, other], CameraChoice(single=True))
    assert not (tmp_path / "a.db").exists()


def test_pair_numbers_are_those_of_colmap():
    assert pair_id(1, 2) == 2147483649  # as pycolmap wrote it for images 1 and 2
    with pytest.raises(ValueError, match="smaller number must come first"):
        pair_id(2, 1)


def test_pycolmap_sees_tracks_of_length_three(tmp_path, results, capsys):
    pycolmap = pytest.importorskip("pycolmap", reason="an extra: pip install quadview[colmap]")
    write_shard(shard_path(tmp_path / "run", 0), results)
    path = tmp_path / "scene.db"
    words = ["--matches", str(tmp_path / "run"), "--out", str(path), "--threshold-px", "2"]
    words += ["--intrinsics", *map(str, INTRINSICS), "--radius-px", "1"]
    assert command.main(["export", "colmap", *words]) == 0
    assert "3 of 3 pairs verified" in capsys.readouterr().out
    database = pycolmap.Database.open(path)
    assert (database.num_cameras(), database.num_images()) == (1, 3)
    assert {image.name for image in database.read_all_images()} == set(NAMES)
    graph = pycolmap.CorrespondenceGraph()
    for image in database.read_all_images():
        graph.add_image(image.image_id, database.num_keypoints_for_image(image.image_id))
    for number in (pair_id(1, 2), pair_id(1, 3), pair_id(2, 3)):
        first, second = divmod(number, 2147483647)
        views = database.read_two_view_geometry(first, second)
        graph.add_two_view_geometry(first, second, views)
    graph.finalize()
    first = next(i.image_id for i in database.read_all_images() if i.name == NAMES[0])
    partners = [
        {c.image_id for c in graph.extract_correspondences(first, point)}
        for point in range(database.num_keypoints_for_image(first))
    ]
    assert sum(len(images) == 2 for images in partners) > 0.8 * COUNT
    database.close()
