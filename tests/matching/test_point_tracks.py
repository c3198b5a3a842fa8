import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from matching.point_draw import draw_points, draw_tracks
from matching.point_prediction import PointMatches
from matching.point_tracks import Frame, frames_of, track

pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the decoder is tested with each backend elsewhere"
)

IMAGE = np.zeros((40, 60, 3), np.uint8)


class Shifting:
    """A predictor for which each frame lies 10 px further right; points past x = 55 are lost."""

    def __init__(self):
        self.asked = []

    def extract(self, image):
        return SimpleNamespace(size=image.shape[:2])

    def match_points(self, _before, _here, points, **_):
        self.asked.append(len(points))
        moved = (points + np.array([10, 0])).astype(np.float32)
        seen = moved[:, 0] <= 55
        moved[~seen] = np.nan
        return PointMatches(moved, np.where(seen, 0.9, 0.1).astype(np.float32), seen)


def test_points_are_chained_and_lost_ones_stay_lost():
    predictor = Shifting()
    frames = [Frame(str(number), IMAGE) for number in range(4)]
    points = [[5, 5], [40, 7], [70, 7], [np.nan, 3]]  # the last two are not in the first frame
    tracks = track(predictor, frames, points)
    assert tracks.points.shape == (4, 4, 2)
    np.testing.assert_array_equal(tracks.points[:, 0, 0], [5, 15, 25, 35])
    np.testing.assert_array_equal(tracks.points[:, 1, 0], [40, 50, np.nan, np.nan])
    assert np.isnan(tracks.points[:, 2:]).all()
    np.testing.assert_allclose(tracks.confidence[:, 1], [1, 0.9, 0, 0])
    assert predictor.asked == [2, 2, 1]


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        track(Shifting(), [], [[1, 2]])


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), IMAGE)
    names = [frame.name for frame in frames_of(tmp_path)]
    assert names == ["frame1.png", "frame9.png", "frame10.png"]


def test_frames_of_a_video_are_its_pictures(tmp_path):
    path = tmp_path / "v.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    if not video.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for grey in (0, 120, 240):
        video.write(np.full((48, 64, 3), grey, np.uint8))
    video.release()
    frames = list(frames_of(path))
    assert [frame.name for frame in frames] == ["000000", "000001", "000002"]
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [0, 120, 240]


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="OpenCV cannot open"):
        frames_of(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError, match="no such video or folder"):
        frames_of(tmp_path / "nothing")


def test_pictures_are_drawn_for_any_number_of_points(tmp_path):
    frames = [Frame(str(number), IMAGE) for number in range(3)]
    for points in (np.zeros((0, 2)), np.array([[5.0, 5], [40, 7], [np.nan, 3]])):
        tracks = track(Shifting(), frames, points)
        draw_tracks(IMAGE, IMAGE, tracks, tmp_path / "t.png")
        found = Shifting().match_points(None, None, points)
        draw_points(IMAGE, IMAGE, points, found, tmp_path / "p.png")
        for name in ("t.png", "p.png"):
            assert cv2.imread(str(tmp_path / name)) is not None
