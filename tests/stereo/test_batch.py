import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_scripts.disparity_files import read_disparity
from data_scripts.long_run import locked
from stereo import __main__ as command
from stereo.predictor import StereoPredictor
from tests.stereo.block_matcher import BlockMatcher

SHIFT = 9
SCENE = np.random.default_rng(0).integers(0, 256, (72, 160, 3), dtype=np.uint8)
NAMES = ("a/0.png", "a/1.png", "b.png")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Three shifted pairs of different sizes below left/ and right/."""
    monkeypatch.setattr("stereo.predictor.load_checkpoint", lambda _: (BlockMatcher(), None, {}))
    monkeypatch.chdir(tmp_path)
    for n, name in enumerate(NAMES):
        scene = SCENE[: 72 - 8 * n]
        for side, image in (("left", scene[:, :-SHIFT]), ("right", scene[:, SHIFT:])):
            (tmp_path / side / "a").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"{side}/{name}", image)
    (tmp_path / "w.safetensors").touch()
    return tmp_path


def words(out, *more, left="left", right="right"):
    sides = ["--left", left] + (["--right", right] if right else [])
    fixed = ["--weights", "w.safetensors", "--dtype", "float32", "--out", out]
    return ["batch", *sides, *fixed, *more]


def failures(out):
    with Path(out, "failures.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def contents(out):
    files = sorted(path for path in Path(out).rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("suffix", ["pfm", "h5"])
def test_every_pair_of_two_folders_has_its_file(folders, capsys, suffix):
    assert command.main(words("out", "--format", suffix)) == 0
    assert capsys.readouterr().out == "3 disparities, 0 pairs failed; everything is in out\n"
    for name in NAMES:
        disp = read_disparity(f"out/disparities/{name.replace('.png', '')}.{suffix}")
        assert disp.shape == cv2.imread(f"left/{name}").shape[:2]
        assert (disp[:, SHIFT + 2 : -2] == SHIFT).all()
    assert failures("out") == []
    assert json.loads(Path("out/summary.json").read_text()) == {"disparities": 3, "failed": 0}


def test_bad_pairs_are_told_skipped_and_tried_again(folders, capsys):
    Path("left/a/1.png").write_bytes(b"no picture")
    Path("right/b.png").unlink()
    assert command.main(words("out")) == 0
    assert "1 disparities, 2 pairs failed" in capsys.readouterr().out
    rows = failures("out")
    assert [row[0] for row in rows] == ["a/1", "b"]
    assert "left/a/1.png: wanted" in rows[0][1]
    assert "right/b.png: no such image file" in rows[1][1]
    cv2.imwrite("right/b.png", SCENE[:30, SHIFT:])
    assert command.main(words("out")) == 0
    assert "same size" in failures("out")[1][1]
    cv2.imwrite("right/b.png", SCENE[:56, SHIFT:])
    assert command.main(words("out")) == 0
    assert "2 disparities, 1 pairs failed" in capsys.readouterr().out


def test_a_run_of_which_every_pair_failed_says_so_with_its_code(folders, capsys):
    for path in Path("left").rglob("*.png"):
        path.write_bytes(b"no picture")
    assert command.main(words("out")) == 2
    assert "all 3 pairs failed; out/failures.csv says why" in capsys.readouterr().err
    assert len(failures("out")) == 3


def test_a_stopped_run_goes_on_and_ends_with_the_same_files(folders, capsys, monkeypatch):
    predict = StereoPredictor.predict
    calls = []

    def interrupted(self, left, right):
        calls.append(left)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, left, right)

    with monkeypatch.context() as patch:
        patch.setattr(StereoPredictor, "predict", interrupted)
        assert command.main(words("out")) == 130
    assert "stopped: all whole files are in out" in capsys.readouterr().err
    Path("out/disparities/a/.1.4242.pfm").write_bytes(b"of a process that was killed")
    assert command.main(words("out")) == 0
    assert command.main(words("whole")) == 0
    assert contents("out") == contents("whole")


def write_video(path, frames):
    height, width = frames[0].shape[:2]
    video = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    assert video.isOpened()
    for frame in frames:
        video.write(frame)
    video.release()


@pytest.fixture
def videos(folders):
    scene = np.clip(cv2.GaussianBlur(SCENE, (0, 0), 1.5) * 2.0 - 100, 0, 255).astype(np.uint8)
    scene = scene[:64, : 144 + SHIFT]  # whole blocks of the codec
    left, right = scene[:, :-SHIFT], scene[:, SHIFT:]
    write_video("left.avi", [left] * 4)
    write_video("right.avi", [right] * 3)
    write_video("both.avi", [np.hstack([left, right])] * 2)


def test_frames_of_two_videos_up_to_the_shorter(videos, capsys):
    assert command.main(words("out", left="left.avi", right="right.avi")) == 0
    assert "3 disparities, 1 pairs failed" in capsys.readouterr().out
    ended = Path("right.avi").resolve()
    assert failures("out") == [["00000003", f"{ended} ends here, the other goes on"]]
    disp = read_disparity("out/disparities/00000002.pfm")
    assert disp.shape == (64, 144)
    assert np.median(disp) == SHIFT


def test_pictures_that_show_both_views_side_by_side(videos, capsys):
    assert command.main(words("video", left="both.avi", right=None)) == 0
    Path("pictures").mkdir()
    cv2.imwrite("pictures/x.png", np.hstack([SCENE[:, :-SHIFT], SCENE[:, SHIFT:]]))
    assert command.main(words("folder", left="pictures", right=None)) == 0
    assert capsys.readouterr().out.startswith("2 disparities, 0 pairs failed")
    assert np.median(read_disparity("video/disparities/00000001.pfm")) == SHIFT
    assert np.median(read_disparity("folder/disparities/x.pfm")) == SHIFT


@pytest.mark.parametrize(
    ("more", "left", "right", "said"),
    [
        ([], "none", "right", "none: there is no such folder"),
        ([], "empty", "right", "empty: wanted image files"),
        ([], "none.avi", "none.avi", "none.avi: there is no such video"),
        ([], "text.avi", None, "text.avi: wanted a video"),
        ([], "left", "text.avi", "wanted two folders or two videos"),
        (["--out", "left"], "left", "right", "left: wanted an empty folder"),
        (["--weights", "huge"], "left", "right", "huge: no such weights"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(folders, capfd, more, left, right, said):
    Path("empty").mkdir()
    Path("text.avi").write_text("no video")
    assert command.main(words("out", *more, left=left, right=right)) == 2
    out, err = capfd.readouterr()
    assert err.splitlines()[-1].startswith(f"error: {said}")
    assert out == ""


def test_a_run_that_another_process_is_at_is_let_alone(folders, capsys):
    pytest.importorskip("fcntl", reason="where there is no flock nothing is checked")
    with locked(Path("out")):
        assert command.main(words("out")) == 2
    assert "error: out: another process is at work there" in capsys.readouterr().err
    assert command.main(words("out")) == 0


def test_a_run_of_other_settings_is_not_continued(folders, capsys):
    assert command.main(words("out")) == 0
    assert command.main(words("out", "--long-side", "80")) == 2
    assert "long_side None instead of 80" in capsys.readouterr().err
