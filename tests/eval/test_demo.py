import numpy as np

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
    left, right, disp = (array.astype(float) for array in motorcycle())
    y, x = np.mgrid[50:450:7, 150:700:7].reshape(2, -1)
    known = np.isfinite(disp[y, x])
    y, x = y[known], x[known]
    found = right[y, np.rint(x - disp[y, x]).astype(int)]
    assert np.median(np.abs(left[y, x] - found)) < 10 < np.median(np.abs(left[y, x] - right[y, x]))


def test_an_unknown_method_is_one_line_and_exit_code_2(capsys, tmp_path):
    assert main(["--method", "nothing", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: nothing")
