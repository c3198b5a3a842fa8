from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from data_scripts.disparity_files import read_disparity, write_pfm
from stereo import __main__ as command
from tests.command_checks import assert_help_is_quick, assert_told_in_one_line
from tests.stereo.block_matcher import BlockMatcher

SHIFT = 9
SCENE = np.random.default_rng(0).integers(0, 256, (70, 150, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A shifted pair, and weights whose network needs none."""
    monkeypatch.setattr("stereo.predictor.load_checkpoint", lambda _: (BlockMatcher(), None, {}))
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("left.png", SCENE[:, :-SHIFT])
    cv2.imwrite("right.png", SCENE[:, SHIFT:])
    (tmp_path / "weights.safetensors").touch()
    return ["left.png", "right.png", "--weights", "weights.safetensors", "--dtype", "float32"]


@pytest.mark.parametrize("name", ["out.pfm", "out.png", "out.npy", "out.h5"])
def test_disparity_is_written_in_the_format_of_the_suffix(files, capsys, name):
    assert command.main([*files, "-o", name]) == 0
    out, err = capsys.readouterr()
    assert "median 9.0" in out
    assert out.count("\n") == 1
    assert err == ""
    disp = read_disparity(name)
    assert disp.shape == (70, 150 - SHIFT)
    assert (disp[:, SHIFT + 2 : -2] == SHIFT).all()


def test_hdf5_keeps_occlusion_and_confidence(files):
    command.main([*files, "-o", "out.h5"])
    with h5py.File("out.h5") as file:
        assert set(file) == {"disparity", "occlusion", "confidence"}
        assert "left.png right.png" in file.attrs["notes"]


def test_picture_points_and_error_are_made_when_asked_for(files, capsys):
    truth = np.full((70, 150 - SHIFT), SHIFT + 1.0, np.float32)
    truth[:, : SHIFT + 2] = truth[:, -2:] = np.inf
    write_pfm("truth.pfm", truth)
    words = ["--viz", "out.png", "--ply", "out.ply", "--focal-px", "100", "--baseline-m", "0.1"]
    assert command.main([*files, *words, "--gt", "truth.pfm"]) == 0
    assert "mean 1.000 px, 0.00 % above 2 px" in capsys.readouterr().out
    assert cv2.imread("out.png") is not None
    assert Path("out.ply").read_bytes().startswith(b"ply\n")


def test_options_reach_the_predictor(files, capsys):
    assert command.main([*files, "--tile", "64", "64", "-o", "cut.npy"]) == 0
    assert command.main([*files, "--long-side", "50", "-o", "half.npy"]) == 0
    assert read_disparity("half.npy").shape == (70, 150 - SHIFT)
    assert capsys.readouterr().out.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.png", "right.png"], "missing.png: no such image file"),
        (["left.png", "."], ".: wanted an image file, got a folder"),
        (["left.png", "cut.png"], "cut.png: wanted a complete PNG"),
        (["left.png", "small.png"], "left and right must have the same size"),
        (["left.png", "right.png", "-o", "a.txt"], "a.txt: wanted a file name that ends in"),
        (["left.png", "right.png", "-o", "no/a.pfm"], "no/a.pfm: there is no folder no"),
        (["left.png", "right.png", "--viz", "a.docx"], "a.docx: wanted a file name that ends in"),
        (["left.png", "right.png", "-o", "right.png"], "right.png: wanted another file, but right"),
        (
            ["left.png", "right.png", "-o", "a.png", "--viz", "a.png"],
            "a.png: wanted another file, but a.png is written already",
        ),
        (["left.png", "right.png", "--gt", "t.npy", "-o", "t.npy"], "t.npy: wanted another file"),
        (
            ["left.png", "right.png", "--ply", "a.ply"],
            "--ply wants a positive --focal-px, got None",
        ),
        (
            ["left.png", "right.png", "--ply", "a.ply", "--focal-px", "9", "--baseline-m", "nan"],
            "--ply wants a positive --baseline-m, got nan",
        ),
        (["left.png", "right.png", "--gt", "no.pfm"], "no.pfm: no such disparity file"),
        (["left.png", "right.png", "--gt", "small.npy"], "small.npy: wanted the size of the left"),
        (["left.png", "right.png", "--device", "abacus"], "device must be"),
        (["left.png", "right.png", "--max-memory", "1e-9"], "max_memory must be"),
        (["left.png", "right.png", "--weights", "huge"], "huge: no such weights"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(files, tmp_path, capfd, words, said):
    whole = (tmp_path / "left.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite("small.png", SCENE[:60])
    np.save("small.npy", np.ones((60, 150), np.float32))
    before = sorted(tmp_path.iterdir())
    assert_told_in_one_line(command.main, [*files[2:], *words], said, capfd)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        ["one.png"],
        ["a.png", "b.png", "--tile", "64"],
        ["a.png", "b.png", "--long-side", "0"],
        ["a.png", "b.png", "--tile", "8", "8"],
        ["a.png", "b.png", "--max-memory", "-1"],
    ],
)
def test_wrong_words_exit_with_code_2(words, capsys):
    assert _code(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def _code(words):
    try:
        return command.main(words)
    except SystemExit as stopped:
        return stopped.code


def test_help_imports_nothing_heavy_and_takes_under_two_seconds():
    assert_help_is_quick("stereo.__main__", "--baseline-m")


def test_the_price_list_is_what_there_is():
    import stereo

    assert {name for names in stereo.HOMES.values() for name in names} == set(stereo.__all__)
    for name in stereo.__all__:
        assert getattr(stereo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'depth'"):
        _ = stereo.depth
