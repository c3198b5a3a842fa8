import cv2
import numpy as np
import pytest

from eval.rectification import check_rectification, main

SCENE = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
SCENE = cv2.resize(SCENE, (640, 480), interpolation=cv2.INTER_CUBIC)


def points(count, shift, turn=0.0):
    kpts0 = np.random.default_rng(0).uniform(0, 100, (count, 2))
    kpts1 = kpts0 + np.array([-9, shift])
    kpts1[:, 1] += turn * (kpts0[:, 0] - 50)
    return kpts0, kpts1


@pytest.mark.parametrize(
    ("matches", "good"),
    [
        (points(100, 0.0), True),
        (points(100, -0.9), True),
        (points(100, -1.1), False),
        (points(100, 0.0, turn=0.1), False),  # a turn whose shifts cancel
        (points(19, 0.0), None),
        (points(0, 0.0), None),
    ],
)
def test_a_pair_is_rectified_when_its_matches_stay_on_their_rows(matches, good):
    assert check_rectification(*matches).good is good


def test_a_warning_names_the_offset():
    assert "WARNING: median vertical offset of 50 matches: 2.50 px" in str(
        check_rectification(*points(50, 2.5))
    )
    assert "20 matches are wanted, got 3" in str(check_rectification(*points(3, 0.0)))


@pytest.mark.parametrize(("down", "code", "said"), [(0, 0, "; rectified"), (3, 1, "3.00 px")])
def test_the_command_tells_the_offset_of_a_pair(tmp_path, capsys, down, code, said):
    cv2.imwrite(str(tmp_path / "left.png"), SCENE[10:-10, 20:])
    cv2.imwrite(str(tmp_path / "right.png"), SCENE[10 - down : -10 - down, :-20])
    words = [str(tmp_path / "left.png"), str(tmp_path / "right.png"), "--method", "sift"]
    assert main(words) == code
    assert said in capsys.readouterr().out


def test_a_missing_image_is_one_line_and_exit_code_2(capsys):
    assert main(["no.png", "no.png", "--method", "sift"]) == 2
    assert capsys.readouterr().err == "error: no.png: no such image file; check the path\n"
