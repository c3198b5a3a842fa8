import h5py
import numpy as np
import pytest

from eval.benchmarks import SCANNET1500
from eval.generated import FRAME, K, main, make_poses, make_room, render
from eval.image_source import read_rgb
from eval.methods import find_method
from eval.passes import RunOptions
from eval.runner import left_out, run
from matching.draw import draw_matches  # noqa: F401  imports matplotlib before warnings count


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    assert main([str(folder), "--pairs", "4"]) == 0
    return folder


def test_exact_matches_give_an_auc_of_one_under_every_estimator(folder, tmp_path):
    method = find_method(str(folder / "exact.h5"))
    results = run(SCANNET1500, method, folder, tmp_path, RunOptions(repeats=2))
    assert len(results) + len(left_out(SCANNET1500)) == 3
    for result in results:
        assert result.summary.failed == 0
        assert min(result.summary.auc.values()) > 0.999
        assert set(result.summary.correct.values()) == {1.0}


def test_the_layout_is_that_of_the_test_set(folder):
    pairs = SCANNET1500.pairs(folder)
    assert [pair.name for pair in pairs] == [f"scene0707_00/0--{n}" for n in range(1, 5)]
    with np.load(folder / "test.npz") as index:
        assert index["name"].dtype == np.uint16
        relative = index["rel_pose"].reshape(4, 3, 4)
    for pair, T_0to1 in zip(pairs, relative, strict=True):
        np.testing.assert_allclose(pair.truth.T_0to1[:3], T_0to1, atol=1e-6)
        assert read_rgb(pair.image0).shape == (*FRAME, 3)


def test_without_pose_files_the_index_serves_and_without_frames_it_is_told(folder, tmp_path):
    for name in ("test.npz", "intrinsics.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(FileNotFoundError, match="7 more of 8 are missing"):
        SCANNET1500.pairs(tmp_path)


def test_matched_points_show_the_same_colour(folder):
    pair = SCANNET1500.pairs(folder)[0]
    with h5py.File(folder / "exact.h5") as file:
        kpts0, kpts1 = (
            np.rint(file[f"{pair.name}/{key}"]).astype(int) for key in ("kpts0", "kpts1")
        )
    shown = [
        read_rgb(source).astype(float)[kpts[:, 1], kpts[:, 0]]
        for source, kpts in ((pair.image0, kpts0), (pair.image1, kpts1))
    ]
    same = np.abs(shown[0] - shown[1]).mean()
    other = np.abs(shown[0] - shown[1][::-1]).mean()
    assert same < 0.5 * other


def test_every_pixel_sees_a_wall():
    rng = np.random.default_rng(0)
    room = make_room(rng)
    picture = render(room, make_poses(room, rng, 1)[0])
    assert picture.shape == (*FRAME, 3)
    assert picture.std() > 10
    assert K[0, 0] > K[1, 1] - 5


def test_a_count_that_means_nothing_is_one_line(capsys, tmp_path):
    assert main([str(tmp_path), "--pairs", "0"]) == 2
    assert "must be 1 or more" in capsys.readouterr().err
