import json

import cv2
import numpy as np
import pytest

from data_scripts.conversion import convert
from data_scripts.dataset import open_dataset
from data_scripts.homography_list import read_pairs
from data_scripts.planners import hpatches
from tests.data_scripts.dataset_files import draw_image
from tests.shared_data import shared


def draw_sequence(folder, image="{}.ppm", matrix="H_1_{}"):
    for k in range(1, 7):
        draw_image(folder / image.format(k), k)
        if k > 1:
            H = np.diag([1.0, 1, 1 + k])
            np.savetxt(folder / matrix.format(k), H)


def test_a_sequence_gives_five_pairs_from_its_first_image(tmp_path):
    draw_sequence(tmp_path / "raw" / "v_wall")
    draw_sequence(tmp_path / "raw" / "bikes", "img{}.png", "H1to{}p")
    plan = hpatches.plan(tmp_path / "raw")
    convert(plan, tmp_path / "set.h5")
    with open_dataset(tmp_path / "set.h5") as data:
        assert len(data) == 10
        assert data.image_count == 12
        assert data.groups == ["bikes", "v_wall"]
        assert [pair.name for pair in data][5:7] == ["v_wall/1--v_wall/2", "v_wall/1--v_wall/3"]
        assert [pair.H_0to1[2, 2] for pair in data][:5] == [3, 4, 5, 6, 7]
        first = tmp_path / "raw" / "v_wall" / "1.ppm"
        np.testing.assert_array_equal(data[5].image0.rgb(), cv2.imread(str(first))[..., ::-1])
    assert "114 of 116 sequences missing; HPatches comes from" in plan.remarks[0]


def test_a_sequence_with_holes_keeps_the_pairs_that_are_whole(tmp_path):
    draw_sequence(tmp_path / "i_pool")
    (tmp_path / "i_pool" / "3.ppm").unlink()
    (tmp_path / "i_pool" / "H_1_5").unlink()
    plan = hpatches.plan(tmp_path)
    assert len(plan.pairs) == 3
    assert "2 images or homographies missing" in plan.remarks[0]


@pytest.mark.parametrize("text", ["1 0 0\n0 1 0\n", "1 0 0\n0 1 x\n0 0 1\n", ""])
def test_a_broken_homography_is_named(tmp_path, text):
    draw_sequence(tmp_path / "i_pool")
    (tmp_path / "i_pool" / "H_1_4").write_text(text)
    with pytest.raises(ValueError, match=r"H_1_4: wanted a 3 x 3 matrix"):
        hpatches.plan(tmp_path)


@pytest.mark.parametrize("name", ["oxford", "opencv_graf"])
def test_real_lists_convert_to_what_their_reader_reads(tmp_path, name):
    raw = shared(f"data/homography/{name}")
    wanted = read_pairs(raw / "pairs.json")
    convert(hpatches.plan(raw), tmp_path / "set.h5")
    with open_dataset(tmp_path / "set.h5") as data:
        for found, pair in zip(data, wanted, strict=True):
            np.testing.assert_array_equal(found.H_0to1, pair.H_0to1)
            assert found.image1.encoded() == pair.image1.read_bytes()


@pytest.mark.parametrize(
    "rows",
    ['{"a": 1}', "[1, 2]", "[", json.dumps([{"image0": "1.ppm", "image1": "2.ppm"}])],
)
def test_a_broken_list_is_named(tmp_path, rows):
    (tmp_path / "pairs.json").write_text(rows)
    with pytest.raises(ValueError, match=r"pairs.json"):
        hpatches.plan(tmp_path)
