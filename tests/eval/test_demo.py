import re

import numpy as np
import pytest

from eval.demo import check_disparity, main, motorcycle


def test_matches_that_follow_the_disparity_are_right():
    disp = np.full((10, 20), 3.0)
    disp[:, :5] = np.inf
    kpts0 = np.array([[8.0, 2], [9, 3], [10, 4], [2, 5]])
    # right; 1 px off; 2.5 px off in y; nothing known
    kpts1 = np.array([[5.0, 2], [7, 3], [7, 6.5], [0, 5]])
    check = check_disparity(kpts0, kpts1, disp)
    assert (check.matches, check.known, check.right) == (4, 3, 2)


def test_no_matches_are_said_without_a_share():
    empty = np.zeros((0, 2))
    assert "none" in str(check_disparity(empty, empty, np.ones((4, 4))))


def test_the_known_disparity_leads_from_the_left_to_the_right_image():
    pair = motorcycle()
    left, right, disp = (array.astype(float) for array in (pair.left, pair.right, pair.disp))
    y, x = np.mgrid[50:450:7, 150:700:7].reshape(2, -1)
    known = np.isfinite(disp[y, x])
    y, x = y[known], x[known]
    found = right[y, np.rint(x - disp[y, x]).astype(int)]
    assert np.median(np.abs(left[y, x] - found)) < 10 < np.median(np.abs(left[y, x] - right[y, x]))


@pytest.mark.slow
def test_the_demo_of_the_baselines_tells_errors_and_writes_both_pictures(capsys, tmp_path):
    assert main(["--method", "sift", "--stereo", "sgbm", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disparity.png", "matches.png"]
    assert "; rectified" in out
    error = float(re.search(r"mean error ([\d.]+) px", out)[1])
    assert 0.5 < error < 4  # occluded pixels are in it


@pytest.mark.parametrize("option", ["--method", "--stereo"])
def test_an_unknown_method_is_one_line_and_exit_code_2(capsys, tmp_path, option):
    words = {"--method": "sift", "--stereo": "sgbm", option: "nothing"}
    assert main([*sum(words.items(), ()), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: nothing")
