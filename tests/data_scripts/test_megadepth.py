import pickle

import cv2
import h5py
import numpy as np
import pytest

from data_scripts.megadepth import read_all, read_pairs
from tests.data_scripts.pair_checks import colour_error, smooth_photos
from tests.shared_data import shared


def write_scene(root):
    """A wall 4 m away, photographed twice; the second camera stands 0.8 m to the right."""
    wall = smooth_photos(1, (60, 140))[0][..., ::-1]
    focal, columns = 50.0, 100
    for name, start in (("a", 0), ("b", 10)):  # 50 px * 0.8 m / 4 m = 10 px
        cv2.imwrite(str(root / f"{name}.png"), wall[:, start : start + columns])
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["depth"] = np.full((60, columns), 4.0, np.float32)
    to_the_right = np.eye(4)
    to_the_right[0, 3] = -0.8
    K = np.array([[focal, 0, 50], [0, focal, 30], [0, 0, 1]])

    def objects(values):
        array = np.empty(len(values), object)
        array[:] = values
        return array

    index = {
        "image_paths": objects([None, "a.png", "b.png"]),
        "depth_paths": objects([None, "a.h5", "b.h5"]),
        "intrinsics": objects([None, K, K]),
        "poses": objects([None, np.eye(4), to_the_right]),
        "pair_infos": [((1, 2), 0.5, np.zeros(4)), ((2, 1), 0.05, np.zeros(4))],
    }
    (root / "scene.npz").write_bytes(pickle.dumps(index))
    return root / "scene.npz"


def test_a_scene_gives_pairs_whose_labels_fit_the_pictures(tmp_path):
    pairs = list(read_all(tmp_path, write_scene(tmp_path), min_overlap=0.1, long_side=None))
    assert len(pairs) == 1
    assert pairs[0].warp_0to1[20, 40].tolist() == pytest.approx([30, 20], abs=1e-3)
    assert colour_error(pairs[0]) < 0.005


def test_the_principal_point_is_moved_from_the_corner_to_pixel_centres(tmp_path):
    view = read_pairs(write_scene(tmp_path))[0].views[0]
    assert view.K[:2, 2].tolist() == [49.5, 29.5]


def test_an_index_without_a_field_says_which(tmp_path):
    path = tmp_path / "short.npz"
    path.write_bytes(pickle.dumps({"image_paths": []}))
    with pytest.raises(ValueError, match="got no depth_paths, intrinsics, poses, pair_infos"):
        read_pairs(path)


def test_the_standard_test_scenes_hold_300_pairs_with_rigid_poses():
    folder = shared("data/pose/megadepth_test_1500")
    for path in sorted(folder.glob("*.npz")):
        pairs = read_pairs(path)
        assert len(pairs) == 300
        R = pairs[0].T_0to1[:3, :3]
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-5)
