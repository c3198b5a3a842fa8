import cv2
import h5py
import numpy as np
import pytest

from matching import __main__ as command
from matching import train
from matching.cli import parse, parse_point
from tests.command_checks import assert_help_is_quick, assert_told_in_one_line
from tests.matching.patch_matcher import PatchMatcher

pytestmark = pytest.mark.once

SCENE = np.random.default_rng(0).integers(0, 256, (140, 200), dtype=np.uint8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two overlapping images, and weights whose matcher needs none."""
    monkeypatch.setattr("matching.predictor.load_checkpoint", lambda _: (PatchMatcher(), None, {}))
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("left.png", SCENE[16:, 24:])
    cv2.imwrite("right.png", SCENE[:120, :180])
    (tmp_path / "weights.safetensors").touch()
    return ["left.png", "right.png", "--weights", "weights.safetensors"]


def test_a_pair_is_matched_and_everything_asked_for_is_written(files, tmp_path, capsys):
    assert command.main([*files, "-o", "out.h5", "--viz", "out.png", "--max-matches", "50"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("50 matches, mean confidence 1.000, ")
    assert out.count("\n") == 1
    assert err == ""
    with h5py.File("out.h5") as file:
        difference = file["keypoints1"][()] - file["keypoints0"][()]
        np.testing.assert_array_equal(difference, np.tile([24, 16], (50, 1)))
        assert (file.attrs["image0"], file.attrs["height0"], file.attrs["width0"]) == (
            "left.png",
            124,
            176,
        )
    assert cv2.imread("out.png") is not None


def test_options_reach_the_predictor(files, capsys):
    cv2.imwrite("right.png", np.rot90(SCENE[:120, :180]))
    assert command.main([*files, "--rotations", "0", "270", "--symmetric"]) == 0
    # Turned back, the pair shares 156 x 104 px: 19 x 13 whole cells.
    assert capsys.readouterr().out.startswith("247 matches, mean confidence 1.000")


def test_a_pair_without_matches_is_no_error(files, capsys):
    cv2.imwrite("right.png", np.zeros((50, 50), np.uint8))
    assert command.main([*files, "-o", "none.csv", "--viz", "none.png"]) == 0
    assert capsys.readouterr().out.startswith("0 matches, ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.png", "right.png"], "missing.png: no such image file"),
        (["left.png", "."], ".: wanted an image file, got a folder"),
        (["left.png", "weights.safetensors"], "weights.safetensors: wanted an image file of 1 to"),
        (["left.png", "cut.png"], "cut.png: wanted a complete PNG"),
        (["left.png", "text.jpg"], "text.jpg: wanted a complete image"),
        (["left.png", "right.png", "-o", "a.txt"], "a.txt: wanted a file name that ends in"),
        (["left.png", "right.png", "-o", "no/a.h5"], "no/a.h5: there is no folder no"),
        (["left.png", "right.png", "--viz", "a.docx"], "a.docx: wanted a file name that ends in"),
        (
            ["left.png", "right.png", "--viz", "./left.png"],
            "left.png: wanted another file, but left",
        ),
        (["left.png", "right.png", "--device", "abacus"], "device must be"),
        (["left.png", "right.png", "--long-side", "0"], "long_side must be"),
        (["left.png", "right.png", "--show-attention", "3"], "--show-attention must be X,Y"),
        (["left.png", "right.png", "--show-attention", "nan,1"], "--show-attention must be finite"),
        (["left.png", "right.png", "--weights", "huge"], "huge: no such weights"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(files, tmp_path, capfd, words, said):
    whole = (tmp_path / "left.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    before = sorted(tmp_path.iterdir())
    assert_told_in_one_line(command.main, [*files[2:], *words], said, capfd)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [["one.png"], ["a.png", "b.png", "--rotations", "45"]])
def test_wrong_words_exit_with_code_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_attention_goes_beside_the_picture_of_matches():
    words = ["a.png", "b.png", "--show-attention", "12.5,7"]
    assert str(parse(words).attention_path) == "attention.png"
    assert str(parse([*words, "--viz", "out/m.svg"]).attention_path) == "out/m_attention.svg"
    assert parse_point("12.5,7") == (12.5, 7.0)


def test_training_gets_the_words_after_train(monkeypatch):
    monkeypatch.setattr(train, "main", lambda argv: len(argv))
    assert command.main(["train", "--photos", "folder"]) == 2


def test_help_imports_nothing_heavy_and_takes_under_two_seconds():
    assert_help_is_quick("matching.__main__", "--show-attention")
