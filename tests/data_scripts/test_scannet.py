import cv2
import numpy as np
import pytest

from data_scripts.scannet import read_all, read_pairs
from tests.data_scripts.pair_checks import colour_error, smooth_photos
from tests.shared_data import shared


def write_scan(root):
    """A wall 4 m away at 640 x 480, focal length 500 px; the second camera is 0.32 m further right."""
    wall = smooth_photos(1, (480, 700))[0][..., ::-1]
    for frame, start in ((0, 0), (15, 40)):  # 500 px * 0.32 m / 4 m = 40 px
        for kind, image in (
            ("color", wall[:, start : start + 640]),
            ("depth", np.full((480, 640), 4000, np.uint16)),
        ):
            folder = root / "scene0007_01" / kind
            folder.mkdir(parents=True, exist_ok=True)
            suffix = "jpg" if kind == "color" else "png"
            cv2.imwrite(str(folder / f"{frame}.{suffix}"), image)
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = -0.32
    names = np.array([[7, 1, 0, 15]], np.uint16)
    np.savez(root / "test.npz", name=names, rel_pose=pose[:3].reshape(1, 12))
    K = np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
    np.savez(root / "intrinsics.npz", scene0007_01=K)
    return root / "test.npz", root / "intrinsics.npz"


def test_a_scan_gives_pairs_whose_labels_fit_the_pictures(tmp_path):
    (pair,) = read_all(tmp_path, *write_scan(tmp_path), long_side=320)
    # 20 px at half the size
    assert pair.warp_0to1[100, 200].tolist() == pytest.approx([180, 100], abs=1e-2)
    assert colour_error(pair) < 0.01


def test_a_scene_without_intrinsics_is_named(tmp_path):
    index, _ = write_scan(tmp_path)
    np.savez(tmp_path / "other.npz", scene0001_00=np.eye(3))
    with pytest.raises(ValueError, match="no scene0007_01"):
        read_pairs(index, tmp_path / "other.npz")


def test_the_standard_test_set_holds_1500_pairs():
    folder = shared("data/pose/scannet_test_1500")
    pairs = read_pairs(folder / "test.npz", folder / "intrinsics.npz")
    assert len(pairs) == 1500
    assert pairs[0].scene == "scene0707_00"
    np.testing.assert_allclose(pairs[0].K[0, 0], 575.664, atol=1)
