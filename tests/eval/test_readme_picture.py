import cv2
import numpy as np
import pytest

from eval.readme_picture import main, right_share, two_views


def test_the_homography_is_that_between_the_views():
    data = pytest.importorskip("skimage.data")
    image0, image1, H_0to1 = two_views(data.astronaut())
    assert image0.shape == image1.shape == (480, 640, 3)
    moved = cv2.warpPerspective(image0, H_0to1, (640, 480))
    seen = (moved > 0).all(-1) & (image1 > 0).all(-1)
    darker = 255 * (moved[seen] / 255) ** 1.6
    assert seen.mean() > 0.5
    assert np.median(abs(darker - image1[seen])) < 4


def test_matches_count_as_right_within_three_pixels():
    shift = np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]])
    kpts0 = np.array([[10.0, 10], [20, 20]])
    assert right_share(kpts0, kpts0 + np.array((5, 2)), shift) == 1
    assert right_share(kpts0, kpts0 + np.array([(5, 2), (5, 4)]), shift) == 0.5
    assert right_share(kpts0[:0], kpts0[:0], shift) == 0


def test_the_command_writes_the_picture_and_says_how_right_it_is(tmp_path, capsys):
    pytest.importorskip("skimage")
    assert main(["--out", str(tmp_path / "new/matches.png"), "--method", "sift"]) == 0
    assert (tmp_path / "new/matches.png").stat().st_size > 10_000
    assert "within 3 px" in capsys.readouterr().out


def test_an_unknown_method_is_one_line(tmp_path, capsys):
    pytest.importorskip("skimage")
    assert main(["--out", str(tmp_path / "x.png"), "--method", "nothing"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
