import cv2
import numpy as np
import pytest

from matching import __main__ as command
from matching.warp import checkerboard, stitch, warp_onto, write_rgb
from tests.matching.patch_matcher import PatchMatcher

RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (160, 240, 3), dtype=np.uint8)
SHIFT = np.array([[1.0, 0, -24], [0, 1, -16], [0, 0, 1]])


def test_an_image_lies_where_the_homography_puts_it():
    moved, inside = warp_onto(SCENE, SHIFT, 100, 120)
    np.testing.assert_array_equal(moved, SCENE[16:116, 24:144])
    assert inside.all()
    moved, inside = warp_onto(SCENE[:50, :60], SHIFT, 100, 120)
    assert inside.sum() == (50 - 16) * (60 - 24)
    assert (moved[~inside] == 0).all()


def test_the_edge_of_a_warped_image_is_not_darkened():
    white = np.full((60, 80, 3), 255, np.uint8)
    H = np.array([[0.9, 0.2, 10.3], [-0.1, 1.1, 8.6], [1e-4, 0, 1]])
    moved, inside = warp_onto(white, H, 90, 120)
    assert (moved[inside] == 255).all()
    assert (moved[~inside] == 0).all()
    panorama = stitch(white, white, H)
    assert (panorama.image[panorama.covered] == 255).all()


def test_tiles_come_from_both_images_and_only_where_both_are():
    black, white = np.zeros((24, 36, 3), np.uint8), np.full((24, 36, 3), 255, np.uint8)
    inside = np.ones((24, 36), bool)
    inside[:, 18:] = False
    tiles = checkerboard(black, white, inside)
    assert (tiles[:3, :3] == 0).all()  # a tile is 36 / 12 px
    assert (tiles[:3, 3:6] == 255).all()
    assert (tiles[:, 18:] == 255).all()


def test_two_parts_are_stitched_into_the_whole():
    whole = cv2.GaussianBlur(SCENE, (0, 0), 2)
    panorama = stitch(
        whole[:, :150], whole[:, 100:], np.array([[1.0, 0, -100], [0, 1, 0], [0, 0, 1]])
    )
    assert panorama.origin == (100, 0)
    assert panorama.covered.all()
    assert panorama.image.shape == whole.shape
    assert np.abs(panorama.image.astype(int) - whole).max() <= 1


def test_a_homography_that_tears_or_explodes_an_image_is_told():
    with pytest.raises(ValueError, match="infinity"):
        stitch(SCENE, SCENE, np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]]))
    with pytest.raises(ValueError, match="nearly degenerate"):
        stitch(SCENE, SCENE, np.diag([50.0, 50, 1]))


def test_written_pictures_keep_their_colours(tmp_path):
    write_rgb(tmp_path / "a.png", SCENE)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], SCENE)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr("matching.predictor.load_checkpoint", lambda _: (PatchMatcher(), None, {}))
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("left.png", SCENE[:, :176])
    cv2.imwrite("right.png", SCENE[16:, 64:])
    (tmp_path / "weights.safetensors").touch()
    return ["left.png", "right.png", "--weights", "weights.safetensors"]


def test_align_puts_the_first_image_onto_the_second(files, capsys):
    assert command.main(["align", *files, "-o", "a.png", "--viz", "both.png"]) == 0
    out = capsys.readouterr().out
    assert "matches agree, H_0to1 = [1 " in out
    got, want = cv2.imread("a.png").astype(int), SCENE[16:, 64:]
    # image 0 ends 112 columns into image 1
    assert np.abs(got[:, :110] - want[:, :110]).mean() < 1
    assert (got[:, 114:] == 0).all()
    assert cv2.imread("both.png").shape == want.shape


def test_stitch_gives_the_whole_back(files, capsys):
    assert command.main(["stitch", *files, "-o", "s.png"]) == 0
    assert "s.png: 240 x 160 px" in capsys.readouterr().out
    got = cv2.imread("s.png").astype(int)
    assert np.abs(got[20:, 64:] - SCENE[20:, 64:]).mean() < 1


@pytest.mark.parametrize("name", ["align", "stitch"])
def test_a_pair_without_a_homography_is_one_line_and_code_2(files, capsys, name):
    cv2.imwrite("right.png", np.zeros((60, 60), np.uint8))
    assert command.main([name, *files, "-o", "none.png"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: left.png and right.png must share a plane")
    assert "0 matches, 4 are needed" in err
    assert err.count("\n") == 1
    assert command.main([name, *files, "-o", "none.docx"]) == 2
    assert "wanted a file name that ends in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["align", "-o", "right.png"], ["align", "--viz", "aligned.png"], ["stitch", "-o", "left.png"]],
)
def test_no_picture_is_written_over_another(files, capsys, words):
    assert command.main([*words, *files]) == 2
    assert capsys.readouterr().err.startswith(f"error: {words[2]}: wanted another file, but")
