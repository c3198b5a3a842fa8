"""Original layouts and the files that `data_scripts` converts them into give the same pairs and the same truth."""

import json

import cv2
import numpy as np
import pytest

from data_scripts.__main__ import main as data_scripts
from eval.benchmarks import BENCHMARKS
from eval.image_source import read_rgb
from eval.readers.any_pairs import read_any_homographies, read_any_poses
from eval.stereo_benchmarks import STEREO_BENCHMARKS
from tests.shared_data import shared

STEREO = {
    "kitti2015": ("kitti", "stereo/layouts/KITTI_2015", ()),
    "middlebury": ("middlebury", "stereo/layouts/MIDDLEBURY_2014", ()),
    "sceneflow": ("sceneflow", "stereo/layouts/SCENE_FLOW", ("--render-pass", "clean")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEREO)
def test_stereo_sets_are_the_same_in_both_layouts(name, tmp_path):
    command, folder, more = STEREO[name]
    benchmark, root, file = STEREO_BENCHMARKS[name], shared(f"data/{folder}"), tmp_path / "set.h5"
    assert data_scripts([command, "--raw", str(root), "--out", str(file), *more]) == 0
    (original,), (converted,) = benchmark.pairs(root), benchmark.pairs(file)
    for source, other in ((original.left, converted.left), (original.right, converted.right)):
        np.testing.assert_array_equal(read_rgb(source), read_rgb(other))
    truth, same = original.truth(), converted.truth()
    np.testing.assert_array_equal(truth.disp, same.disp)
    np.testing.assert_array_equal(truth.visible, same.visible)
    assert truth.occlusion_known == same.occlusion_known == (name != "kitti2015")
    assert (original.weight, original.ndisp) == (converted.weight, converted.ndisp)


@pytest.mark.slow
def test_a_superglue_list_is_the_same_in_both_layouts(tmp_path):
    benchmark, root = BENCHMARKS["scannet-sample"], shared("data/pose/scannet_sample")
    file = tmp_path / "set.h5"
    assert data_scripts(["scannet-sample", "--raw", str(root), "--out", str(file)]) == 0
    originals, converted = benchmark.pairs(root), benchmark.pairs(file)
    assert len(originals) == len(converted) == 5
    for pair, other in zip(originals, converted, strict=True):
        for key in ("K0", "K1", "T_0to1"):
            wanted = getattr(pair.truth, key)
            np.testing.assert_allclose(getattr(other.truth, key), wanted, rtol=1e-9)
    np.testing.assert_array_equal(read_rgb(originals[0].image0), read_rgb(converted[0].image0))


def test_the_indices_of_the_test_sets_are_read_and_missing_images_are_counted(tmp_path):
    for name, index, count in (
        ("scannet1500", "scannet_test_1500", 3000),
        ("megadepth1500", "megadepth_test_1500", 3000),
    ):
        with pytest.raises(FileNotFoundError, match=f"{count - 1} more of {count} are missing"):
            BENCHMARKS[name].pairs(shared(f"data/pose/{index}"))


def test_hpatches_leaves_out_the_eight_and_pairs_the_first_with_the_others(tmp_path):
    H = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1.0]])
    for name in ("i_made", "v_made", "v_talent"):
        folder = tmp_path / name
        folder.mkdir()
        for n in range(1, 7):
            cv2.imwrite(str(folder / f"{n}.ppm"), np.zeros((6, 8, 3), np.uint8))
            if n > 1:
                np.savetxt(folder / f"H_1_{n}", H * n)
    pairs = BENCHMARKS["hpatches"].pairs(tmp_path)
    assert [pair.name for pair in pairs[:2]] == ["i_made/1--2", "i_made/1--3"]
    assert len(pairs) == 10
    np.testing.assert_allclose(pairs[3].truth.H_0to1, 5 * H)
    (tmp_path / "v_made/H_1_3").write_text("1 2 x")
    with pytest.raises(ValueError, match="H_1_3: wanted a matrix"):
        BENCHMARKS["hpatches"].pairs(tmp_path)


def test_sceneflow_pairs_are_those_of_test_in_both_passes(tmp_path):
    disp = np.full((4, 6), 2.0, "<f4")
    for split in ("TRAIN", "TEST"):
        for side in ("left", "right"):
            for tree in ("disparity", "frames_cleanpass", "frames_finalpass"):
                folder = tmp_path / tree / split / "A/0000" / side
                folder.mkdir(parents=True)
                if tree == "disparity":
                    (folder / "0006.pfm").write_bytes(b"Pf\n6 4\n-1.0\n" + disp.tobytes())
                else:
                    cv2.imwrite(str(folder / "0006.png"), np.zeros((4, 6, 3), np.uint8))
    pairs = STEREO_BENCHMARKS["sceneflow"].pairs(tmp_path)
    path = "TEST/A/0000/left/0006"
    assert [pair.name for pair in pairs] == [f"final/{path}", f"clean/{path}"]
    assert {pair.group for pair in pairs} == {"SceneFlow final", "SceneFlow clean"}
    # the two first columns match outside, and both views agree on the others
    np.testing.assert_array_equal(pairs[0].truth().visible, np.arange(6)[None].repeat(4, 0) >= 2)


def test_kitti_has_its_visible_and_foreground_pixels(tmp_path):
    base = tmp_path / "training"
    stored = np.full((4, 6), 256, np.uint16)
    stored[0] = 0
    seen = stored.copy()
    seen[:, :3] = 0
    objects = np.zeros((4, 6), np.uint8)
    objects[3] = 7
    for name, picture in {
        "image_2": objects,
        "image_3": objects,
        "disp_occ_0": stored,
        "disp_noc_0": seen,
        "obj_map": objects,
    }.items():
        (base / name).mkdir(parents=True)
        cv2.imwrite(str(base / name / "000000_10.png"), picture)
    truth = STEREO_BENCHMARKS["kitti2015"].pairs(tmp_path)[0].truth()
    assert np.isfinite(truth.disp).sum() == 18
    assert truth.visible.sum() == 9
    assert truth.foreground.sum() == 6
    assert not truth.occlusion_known


def test_any_list_is_found_by_its_form(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((6, 8, 3), np.uint8))
    row = {"image0": "a.png", "image1": "a.png", "H_0to1": np.eye(3).tolist()}
    (tmp_path / "pairs.json").write_text(json.dumps([row]))
    assert len(read_any_homographies(tmp_path)) == 1
    assert len(read_any_homographies(tmp_path / "pairs.json")) == 1
    with pytest.raises(ValueError, match="use the benchmark homography"):
        read_any_poses(tmp_path)
    (tmp_path / "pairs.json").unlink()
    with pytest.raises(FileNotFoundError, match="got 0 text files"):
        read_any_poses(tmp_path)
    numbers = " ".join(["1"] * 34)
    (tmp_path / "list.txt").write_text(f"a.png a.png 0 0 {numbers}")
    assert len(read_any_poses(tmp_path)) == 1
