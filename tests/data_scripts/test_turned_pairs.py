import json

import cv2
import numpy as np
import pytest

from data_scripts.__main__ import main
from data_scripts.homography import apply
from data_scripts.turned_pairs import (
    Case,
    Views,
    all_cases,
    enlargement,
    homography_of,
    step_px,
    view_pair,
)
from eval.readers.any_pairs import read_any_homographies

PLAIN = Views(height=60, width=80, max_gamma=1.0, noise=0.0)
SMALL = ["--height", "60", "--width", "80", "--turns", "90", "--zooms", "0.5", "--both"]


def dots(size, places):
    """A grey picture (H, W, 3) with a round bright dot at each x, y: a Gaussian of 4 px."""
    y, x = np.mgrid[: size[0], : size[1]]
    light = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / 32) for u, v in places)
    return np.repeat((20 + 200 * light).round().astype(np.uint8)[..., None], 3, axis=2)


def dot(image):
    """x, y of the centre of the one dot of an image."""
    light = np.clip(image[..., 0].astype(float) - 30, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        low = rng.integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(folder / f"p{number}.png"), cv2.resize(low, (240, 180)))
    return folder


def command(photos, out, *words):
    return ["turned-pairs", "--photos", str(photos), "--out", str(out), *SMALL, "45", "2", *words]


def test_the_homography_turns_and_zooms_about_the_middle():
    # 90 deg takes x to y and y to -x; the middle of 480 x 640 is (319.5, 239.5)
    H = homography_of(Case(90, 2), (480, 640))
    points = np.array([[319.5, 239.5], [329.5, 239.5], [319.5, 249.5]])
    want = [[319.5, 239.5], [319.5, 259.5], [299.5, 239.5]]
    np.testing.assert_allclose(apply(H, points), want, atol=1e-9)


def test_the_photograph_is_shown_as_far_as_both_views_fit():
    assert step_px(Case(0, 1), (768, 1024), (480, 640)) == pytest.approx(1.6)
    assert step_px(Case(0, 0.25), (768, 1024), (480, 640)) == pytest.approx(0.4)
    assert step_px(Case(0, 4), (768, 1024), (480, 640)) == pytest.approx(1.6)
    # turned by 90 deg image 1 is 640 high; by 45 deg it is (480 + 640) / sqrt(2) wide and high
    assert step_px(Case(90, 1), (768, 1024), (480, 640)) == pytest.approx(1.2)
    assert step_px(Case(45, 1), (768, 1024), (480, 640)) == pytest.approx(768 / 791.96, rel=1e-5)


def test_the_narrower_view_is_the_one_that_is_enlarged():
    assert enlargement(Case(0, 0.25), (768, 1024), (480, 640)) == pytest.approx(2.5)
    assert enlargement(Case(0, 4), (768, 1024), (480, 640)) == pytest.approx(2.5)


@pytest.mark.parametrize("case", [Case(0, 1), Case(0, 2), Case(0, 0.5), Case(90, 1), Case(37, 0.6)])
@pytest.mark.parametrize("size", [(131, 173), (60, 80), (240, 320)])
def test_a_dot_of_the_photograph_lies_in_both_views_where_the_homography_says(case, size):
    step = step_px(case, size, (60, 80))
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    # near the middle, so that the dot is whole in either view
    place = middle + np.array([4, -3]) * min(1, step)
    image0, image1, H = view_pair(dots(size, [place]), case, PLAIN, 0)
    expected0 = (place - middle) / step + np.array([39.5, 29.5])
    np.testing.assert_allclose(dot(image0), expected0, atol=0.06)
    np.testing.assert_allclose(dot(image1), apply(H, expected0), atol=0.06)


def test_unturned_views_of_the_photographs_size_are_the_photograph():
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image0, image1, H = view_pair(photo, Case(0, 1), PLAIN, 0)
    np.testing.assert_array_equal(image0, photo)
    np.testing.assert_array_equal(image1, photo)
    np.testing.assert_array_equal(H, np.eye(3))


def test_a_fine_pattern_shrinks_to_its_mean():
    # columns 0, 255, 0, 255 ... at a step of 4 are grey; sampled without averaging they stay black or white
    photo = np.zeros((240, 320, 3), np.uint8)
    photo[:, 1::2] = 255
    for image in view_pair(photo, Case(0, 1), PLAIN, 0)[:2]:
        assert np.abs(image.astype(int) - 128).max() <= 1


def test_gamma_and_noise_change_the_second_view_alone_and_as_much_in_every_case():
    photo = np.full((120, 160, 3), 64, np.uint8)
    views = Views(60, 80, max_gamma=1.4, noise=3.0, seed=5)
    image0, image1, _ = view_pair(photo, Case(0, 1), views, 2)
    assert (image0 == 64).all()
    assert image1.std() == pytest.approx(3.0, rel=0.05)
    # 255 * (64 / 255) ** gamma with a gamma between 1 / 1.4 and 1.4
    assert 36 < image1.mean() < 96
    np.testing.assert_array_equal(image1, view_pair(photo, Case(30, 1), views, 2)[1])
    assert (image1 != view_pair(photo, Case(0, 1), views, 3)[1]).any()


def test_cases_are_turns_zooms_and_both_without_repeats():
    cases = all_cases([0, 45], [0.5, 1], [(30, 0.5), (45, 1)])
    names = ["turn_000_zoom_1", "turn_045_zoom_1", "turn_000_zoom_0.5", "turn_030_zoom_0.5"]
    assert [case.folder for case in cases] == names


def test_the_command_writes_lists_that_eval_reads(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(photos, out, "--count", "2")) == 0
    assert "3 cases of 2 pairs" in capsys.readouterr().out
    pairs = read_any_homographies(out / "turn_090_zoom_1")
    assert len(pairs) == 2
    np.testing.assert_allclose(pairs[0].truth.H_0to1, homography_of(Case(90, 1), (60, 80)))
    for pair in pairs:
        assert (
            cv2.imread(str(pair.image0)).shape == cv2.imread(str(pair.image1)).shape == (60, 80, 3)
        )
    row = json.loads((out / "turn_045_zoom_2" / "pairs.json").read_text())[1]
    assert (row["turn_deg"], row["zoom"]) == (45, 2)
    assert not list(out.rglob(".*"))


def test_what_is_there_is_kept_and_a_lost_case_comes_back_the_same(photos, tmp_path, capsys):
    out = tmp_path / "out"
    main(command(photos, out, "--count", "2"))
    lost, kept = out / "turn_090_zoom_1", out / "turn_000_zoom_0.5" / "pairs.json"
    before = {path.name: path.read_bytes() for path in lost.iterdir()}
    written = kept.stat().st_mtime_ns
    for path in lost.iterdir():
        path.unlink()
    capsys.readouterr()
    assert main(command(photos, out, "--count", "2")) == 0
    assert "3 cases of 2 pairs, 2 of them from an earlier run" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in lost.iterdir()} == before
    assert kept.stat().st_mtime_ns == written


def test_photographs_are_taken_evenly_from_the_large_ones(photos, tmp_path, capsys):
    cv2.imwrite(str(photos / "a_small.png"), np.zeros((70, 90, 3), np.uint8))
    (photos / "b_broken.png").write_bytes(b"no picture")
    assert main(command(photos, tmp_path / "out", "--count", "2", "--max-enlargement", "1")) == 0
    said = capsys.readouterr().err
    # unenlarged, zoom 0.5 of 80 x 60 needs twice its sides, and so does zoom 2
    assert "left out, smaller than 160 x 120: 1, first" in said
    assert "left out, not readable: 1, first" in said
    names = {path.name for path in (tmp_path / "out" / "turn_090_zoom_1").glob("*.png")}
    assert names == {"000_p0_0.png", "000_p0_1.png", "001_p1_0.png", "001_p1_1.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "4"], "wanted 4 photographs of at least"),
        (["--max-enlargement", "1", "--zooms", "0.1"], "800 x 600 px, got 0 of 3"),
        (["--count", "0"], "--count must be 1 or more"),
        (["--zooms", "0"], "a zoom above 0"),
        (["--turns", "nan"], "a turn in degrees"),
        (["--height", "8"], "at least 32 px, got 8 x 80"),
        (["--noise", "-1"], "--noise must be in"),
        (["--max-gamma", "0.5"], "--max-gamma must be 1 or more"),
        (["--photos", "absent"], "absent: no folder"),
        (["--photos", "{out}"], "no photographs"),
        (["--out", "{photos}"], "wanted a new or empty folder"),
        (["--out", "{photos}/p0.png"], "wanted a folder to write to, got a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(photos, tmp_path, words, said, capsys):
    out = tmp_path / "out"
    out.mkdir()
    words = [word.format(photos=photos, out=out) for word in words]
    count = [] if "--count" in words else ["--count", "2"]
    assert main(command(photos, out, *count, *words)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line


def test_other_settings_do_not_mix_with_what_is_there(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(photos, out, "--count", "2")) == 0
    assert main(command(photos, out, "--count", "2", "--seed", "1")) == 2
    assert "other photographs or settings" in capsys.readouterr().err
