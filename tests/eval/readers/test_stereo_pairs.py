import json

import cv2
import numpy as np
import pytest

from eval.readers.stereo_pairs import read_stereo_pairs
from tests.shared_data import shared

ROW = {
    "name": "a",
    "dataset": "Made 2026",
    "left": "a/left.png",
    "right": "a/right.png",
    "disp": "a/disp.png",
    "disp_scale": 4,
    "has_nocc": True,
}


def write(folder, **changes):
    (folder / "a").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a/disp.png"), np.array([[0, 4, 10, 4]], np.uint16))
    cv2.imwrite(str(folder / "a/nocc.png"), np.array([[255, 255, 128, 0]], np.uint8))
    (folder / "index.json").write_text(json.dumps([{**ROW, **changes}]))
    return folder / "index.json"


def test_disparity_is_divided_by_its_scale_and_zero_is_unknown(tmp_path):
    (pair,) = read_stereo_pairs(write(tmp_path))
    assert (pair.name, pair.group, pair.left) == ("a", "Made", tmp_path / "a/left.png")
    truth = pair.truth()
    np.testing.assert_array_equal(truth.disp, [[np.inf, 1, 2.5, 1]])
    # Known, and 255 in nocc.png.
    np.testing.assert_array_equal(truth.visible, [[False, True, False, False]])


def test_without_a_mask_a_pixel_is_visible_when_its_match_lies_in_the_image(tmp_path):
    (pair,) = read_stereo_pairs(write(tmp_path, has_nocc=False))
    np.testing.assert_array_equal(pair.truth().visible, [[False, True, False, True]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left": 3}, r"pair 0: wanted left as str, got 3"),
        ({"has_nocc": None}, "wanted has_nocc as bool, got None"),
        ({"disp_scale": 0}, "wanted a positive disp_scale, got 0"),
        ({"disp_scale": "4"}, "wanted a positive disp_scale"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_stereo_pairs(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [("[", "Expecting value"), ("{}", "got dict"), ("[3]", "each an object, got int")],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path, text, message):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_stereo_pairs(tmp_path / "index.json")


def test_a_mask_of_another_size_or_type_is_refused(tmp_path):
    (pair,) = read_stereo_pairs(write(tmp_path))
    cv2.imwrite(str(tmp_path / "a/nocc.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="wanted the size of disp"):
        pair.truth()
    cv2.imwrite(str(tmp_path / "a/disp.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="wanted a grey picture of uint16"):
        pair.truth()


def test_the_shared_pairs_have_what_their_list_says():
    path = shared("data/stereo/pairs/index.json")
    pairs = read_stereo_pairs(path)
    rows = json.loads(path.read_text())
    assert len(pairs) == len(rows) == 12
    for pair, row in zip(pairs, rows, strict=True):
        truth = pair.truth()
        assert truth.disp.shape == (row["height"], row["width"])
        known = np.isfinite(truth.disp)
        assert known.mean() == pytest.approx(row["valid"], abs=1e-3)
        assert truth.disp[known].max() == pytest.approx(row["max_disp"], abs=0.01)
        assert 0.5 * known.sum() < truth.visible.sum() <= known.sum()
