import json

import numpy as np
import pytest

from eval.pairs import HomographyTruth, ImagePair
from eval.points import KnownPoints, disparity_points, homography_points, scores
from eval.points_command import main
from eval.stereo_pairs import StereoPair, StereoTruth
from matching.matches import Matches
from matching.point_prediction import PointMatches

POINTS0 = np.array([[10.0, 10], [40, 10], [10, 40], [60, 60]])
PAIR = KnownPoints(
    None, None, POINTS0, POINTS0 + np.array([5, 0]), np.array([True, True, True, False])
)


class Known:
    """Answers 0.5, 2 and 9 px off, and one for a point that is not visible."""

    def match_points(self, _image0, _image1, points, *, min_confidence):
        assert min_confidence == 0
        moved = points + np.array([5, 0]) + np.array([[0.5, 0], [0, 2], [9, 0], [0, 0]])
        seen = np.array([True, True, True, True])
        return PointMatches(moved, np.array([0.9, 0.3, 0.8, 0.9], np.float32), seen)

    def match(self, _image0, _image1):
        kpts0 = np.array([[12.0, 10], [42, 14]])
        return Matches(kpts0, kpts0 + np.array([5, 0]), np.ones(2, np.float32))


def test_every_visible_point_counts_and_precision_counts_what_is_said():
    sure, every, *_ = scores("set", Known(), [PAIR, PAIR])
    assert (sure.method, sure.threshold, sure.pairs, sure.points) == ("point decoder", 0.5, 2, 6)
    assert sure.within_1px == sure.within_5px == pytest.approx(1 / 3)
    assert sure.precision_5px == pytest.approx(1 / 3)
    assert every.threshold == 0
    assert every.within_3px == pytest.approx(2 / 3)
    assert every.precision_5px == pytest.approx(2 / 4)


def test_the_nearest_match_speaks_for_points_within_16_px():
    *_, near, every = scores("set", Known(), [PAIR])
    assert near.within_1px == pytest.approx(2 / 3)  # the third is 30 px from any match
    assert near.precision_5px == 1
    assert every.within_1px == 1
    assert every.precision_5px == pytest.approx(3 / 4)


def test_a_homography_says_where_points_are_and_which_are_inside(tmp_path):
    import cv2

    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    H = np.array([[1.0, 0, 30], [0, 1, -5], [0, 0, 1]])
    pair = ImagePair("p", tmp_path / "a.png", tmp_path / "b.png", HomographyTruth(H))
    points = homography_points(pair, 200)
    np.testing.assert_allclose(points.points1, points.points0 + np.array([30, -5]))
    want = (points.points0[:, 0] <= 29) & (points.points0[:, 1] >= 5)
    np.testing.assert_array_equal(points.visible, want)


def test_a_disparity_moves_points_to_the_left(tmp_path):
    import cv2

    for name in ("l.png", "r.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((6, 8, 3), np.uint8))
    disp = np.full((6, 8), np.inf, np.float32)
    disp[2, 3:6] = 2

    class Truth:
        def read(self):
            visible = np.isfinite(disp)
            visible[2, 3] = False
            return StereoTruth(disp, visible)

    points = disparity_points(
        StereoPair("p", "g", tmp_path / "l.png", tmp_path / "r.png", Truth()), 50
    )
    assert len(points.points0) == 3
    np.testing.assert_array_equal(points.points1, points.points0 - np.array([2, 0]))
    assert sorted(points.points0[points.visible, 0]) == [4, 5]


def test_the_command_without_data_is_one_line(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "wanted --photos, or pairs below" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_decoder_beats_a_coin_on_real_pairs(tmp_path):
    from tests.shared_data import shared

    bikes, stereo = shared("data/homography/oxford"), shared("data/stereo/pairs")
    place = tmp_path / "data/homography/oxford"
    place.mkdir(parents=True)
    (place / "bikes").symlink_to(bikes / "bikes")
    one_pair = json.loads((bikes / "pairs.json").read_text())[1:2]
    (place / "pairs.json").write_text(json.dumps(one_pair))
    (tmp_path / "data/stereo").mkdir()
    (tmp_path / "data/stereo/pairs").symlink_to(stereo)
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--points", "100"]
    assert main(words) == 0
    rows = json.loads((tmp_path / "points.json").read_text())["rows"]
    shares = {
        r["name"]: r["within_5px"]
        for r in rows
        if r["method"] == "point decoder" and r["threshold"]
    }
    assert shares["oxford bikes"] > 0.8
    assert shares["Motorcycle"] > 0.7
