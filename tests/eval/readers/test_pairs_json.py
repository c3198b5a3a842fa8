import json

import numpy as np
import pytest

from eval.pairs import HomographyTruth, PoseTruth
from eval.readers.pairs_json import read_pairs_json

POSE = {
    "image0": "a/0.png",
    "image1": "a/1.png",
    "K0": np.diag([500.0, 510, 1]).tolist(),
    "K1": np.eye(3).tolist(),
    "T_0to1": np.eye(4).tolist(),
}


def write(folder, rows):
    path = folder / "pairs.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_pose_pair_is_read_with_paths_beside_the_list(tmp_path):
    (pair,) = read_pairs_json(write(tmp_path, [POSE]))
    assert (pair.name, pair.image0) == ("a/0--a/1", tmp_path / "a/0.png")
    assert isinstance(pair.truth, PoseTruth)
    np.testing.assert_array_equal(pair.truth.K0, np.diag([500.0, 510, 1]))


def test_a_homography_pair_is_read(tmp_path):
    row = {"image0": "0.png", "image1": "1.png", "H_0to1": np.diag([2.0, 2, 1]).tolist()}
    (pair,) = read_pairs_json(write(tmp_path, [row]))
    assert isinstance(pair.truth, HomographyTruth)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"pairs": []}, "wanted a JSON list of pairs, got dict"),
        ([POSE, {**POSE, "K1": [[1, 2]]}], r"pair 1: K1 must be \(3, 3\)"),
        ([{key: POSE[key] for key in POSE if key != "T_0to1"}], "pair 0: wanted T_0to1"),
        ([{"image0": "a"}], "wanted file names image0 and image1"),
    ],
)
def test_a_wrong_list_names_file_pair_and_key(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message) as error:
        read_pairs_json(write(tmp_path, rows))
    assert "pairs.json" in str(error.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "pairs.json").write_text("not json")
    with pytest.raises(ValueError, match=r"pairs\.json: wanted a JSON list"):
        read_pairs_json(tmp_path / "pairs.json")
