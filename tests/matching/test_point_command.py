import os

import cv2
import numpy as np
import pytest
import torch

from matching import __main__ as command
from matching.checkpoint import save_checkpoint
from matching.point_command import parse
from matching.point_model import save_points
from matching.predictor import load_predictor
from tests.matching.test_model import TINY
from tests.matching.tiny_points import TINY_POINTS, tiny_point_matcher

pytestmark = pytest.mark.skipif(
    "QUADVIEW_BACKEND" in os.environ, reason="the decoder is tested with each backend elsewhere"
)

SCENE = np.random.default_rng(0).integers(0, 256, (72, 100, 3), dtype=np.uint8)
WEIGHTS = ["--weights", "matcher.safetensors", "--point-weights", "points.safetensors"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two images, a folder of three, a list of four points, and tiny networks that are sure of all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for name in ("a.png", "b.png", "frames/0.png", "frames/1.png", "frames/2.png"):
        cv2.imwrite(name, SCENE)
    (tmp_path / "p.csv").write_text("x,y\n10,12\n50.5,33\n-3,4\nnan,5\n")
    points = tiny_point_matcher()
    torch.nn.init.constant_(points.decoder.visible[-1].bias, 9.0)
    for layer in points.decoder.layers:
        torch.nn.init.zeros_(layer.step[-1].weight)
    save_checkpoint("matcher.safetensors", points.matcher, TINY, {})
    save_points("points.safetensors", points, TINY_POINTS, {})


@pytest.mark.parametrize("name", [["points"], []])
def test_points_of_a_file_are_found_and_written_with_or_without_the_name(name, files, capsys):
    words = [*name, "a.png", "b.png", "--points", "p.csv", "-o", "o.npz", "--viz", "o.png"]
    assert command.main([*words, *WEIGHTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "-3, 4 -> not visible (confidence 0.00)" in lines
    assert " of 4 points found, " in lines[-1]
    with np.load("o.npz") as saved:
        assert saved["points0"].shape == saved["points1"].shape == (4, 2)
        assert saved["visible"].tolist()[2:] == [False, False]
        assert np.isnan(saved["points1"][~saved["visible"]]).all()
    assert cv2.imread("o.png") is not None


def test_points_can_be_named_or_lie_on_a_grid(files, capsys):
    assert command.main(["points", "a.png", "b.png", "--at", "3,4", "5.5,6", *WEIGHTS]) == 0
    assert "of 2 points" in capsys.readouterr().out
    assert command.main(["points", "a.png", "b.png", "--grid", "20", *WEIGHTS]) == 0
    assert "of 20 points" in capsys.readouterr().out  # x 10 to 90, y 10 to 70


def test_a_video_gives_tracks(files, capsys):
    words = ["--video", "frames", "--points", "p.csv", "-o", "t.npz", "--viz", "t.png"]
    assert command.main([*words, *WEIGHTS]) == 0
    assert "of 4 points followed through 3 frames" in capsys.readouterr().out
    with np.load("t.npz") as saved:
        assert saved["points"].shape == (3, 4, 2)
        assert np.isfinite(saved["points"][0, :2]).all()
        assert np.isnan(saved["points"][:, 2:]).all()
    assert cv2.imread("t.png") is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.png", "--points", "p.csv"], "wanted two images, or --video, got 1"),
        (["a.png", "b.png"], "wanted one of --points, --at and --grid, got 0"),
        (["a.png", "b.png", "--grid", "9", "--at", "1,2"], "wanted one of --points"),
        (["a.png", "b.png", "--grid", "0"], "--grid must be 1 px or more"),
        (["a.png", "b.png", "--at", "1;2"], "--at must be points as X,Y"),
        (["a.png", "b.png", "--points", "no.csv"], "no.csv: no such file of points"),
        (["a.png", "b.png", "--points", "p.csv", "-o", "p.csv"], "p.csv: wanted another file, but"),
        (["a.png", "b.png", "--at", "1,2", "--viz", "a.png"], "a.png: wanted another file, but"),
        (["a.png", "b.png", "--points", "a.png"], "a.png: wanted a list of points"),
        (["a.png", "b.png", "--video", "frames", "--grid", "9"], "wanted two images or --video"),
        (["--video", "nowhere", "--grid", "9"], "nowhere: there is no such video"),
        (["--video", "frames", "--grid", "9", "-o", "t.h5"], "t.h5: wanted a file name"),
        (["a.png", "b.png", "--grid", "9", "--min-confidence", "2"], "--min-confidence must be"),
        (["a.png", "b.png", "--at", "1,2", "--point-weights", "huge"], "huge: no such weights"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(words, said, files, capsys):
    assert command.main(["points", *WEIGHTS, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_the_predictor_takes_points_of_any_kind_and_features_made_before(files):
    predictor = load_predictor("matcher.safetensors", point_weights="points.safetensors")
    points = np.array([[10.0, 12], [50.5, 33]])
    want = predictor.match_points(SCENE, SCENE, points)
    for same in (points.tolist(), torch.from_numpy(points)):
        np.testing.assert_array_equal(
            predictor.match_points(SCENE, SCENE, same).points1, want.points1
        )
    side = predictor.extract(SCENE)
    np.testing.assert_allclose(predictor.match_points(side, side, points).points1, want.points1)
    assert len(predictor.match_points(SCENE, SCENE, [])) == 0
    for wrong in ([1, 2, 3], [[1, 2, 3]], [["a", "b"]]):
        with pytest.raises((ValueError, TypeError), match="points must be"):
            predictor.match_points(SCENE, SCENE, wrong)


def test_points_under_a_mask_and_answers_under_one_are_not_visible(files):
    predictor = load_predictor("matcher.safetensors", point_weights="points.safetensors")
    mask = np.ones(SCENE.shape[:2], bool)
    mask[:, 40:] = False
    points = np.array([[10.0, 12], [50.5, 33]])
    found = predictor.match_points(SCENE, SCENE, points, masks=(mask, None))
    assert not found.visible[1]
    assert found.confidence[1] == 0
    nothing = predictor.match_points(SCENE, SCENE, points, masks=(None, np.zeros_like(mask)))
    assert not nothing.visible.any()
    assert np.isnan(nothing.points1).all()


def test_less_certain_answers_are_given_when_asked_for(files):
    predictor = load_predictor("matcher.safetensors", point_weights="points.safetensors")
    head = predictor._point_matcher().decoder.visible[-1]
    with torch.no_grad():
        head.bias.fill_(-2.0)
        head.weight.zero_()
    assert not predictor.match_points(SCENE, SCENE, [[50, 40]]).visible.any()
    found = predictor.match_points(SCENE, SCENE, [[50, 40]], min_confidence=0.1)
    assert found.visible.all()
    assert found.confidence == pytest.approx([1 / (1 + np.exp(2))])
    with pytest.raises(ValueError, match="min_confidence must be"):
        predictor.match_points(SCENE, SCENE, [[50, 40]], min_confidence=2)


def test_large_images_are_shrunk_and_points_come_back_in_their_pixels(files):
    small = load_predictor("matcher.safetensors", point_weights="points.safetensors", long_side=48)
    found = small.match_points(SCENE, SCENE, [[0, 0], [99, 71], [50, 40]])
    assert found.points1.shape == (3, 2)
    seen = found.points1[found.visible]
    assert ((seen >= 0) & (seen <= (99, 71))).all()


def test_the_words_of_the_issue_are_understood():
    assert str(parse(["A", "B", "--points", "file"]).points) == "file"
    assert str(parse(["--video", "frames", "--grid", "9"]).video) == "frames"
