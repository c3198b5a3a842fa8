import cv2
import numpy as np
import pytest

from data_scripts.kitti import find_pairs, read_pair
from tests.data_scripts.stereo_checks import colour_error
from tests.shared_data import shared


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture(params=[("image_2", "image_3", "_0"), ("colored_0", "colored_1", "")])
def root(request, tmp_path):
    left, right, ending = request.param
    for name in ("000001_10.png", "000001_11.png"):
        for folder in (left, right):
            write(tmp_path / "training" / folder / name, np.full((3, 8, 3), 90, np.uint8))
    stored = np.zeros((3, 8), np.uint16)
    stored[1, 2:6] = 256 * 3, 256 * 2, 256 + 128, 1
    write(tmp_path / "training" / f"disp_occ{ending}" / "000001_10.png", stored)
    stored[1, 4] = 0
    write(tmp_path / "training" / f"disp_noc{ending}" / "000001_10.png", stored)
    return tmp_path


def test_disparity_and_occlusion_by_hand_in_either_layout(root):
    (files,) = find_pairs(root)
    pair = read_pair(files)
    assert pair.disp[1].tolist() == [0, 0, 3, 2, 1.5, 1 / 256, 0, 0]
    assert pair.known.sum() == 4
    # column 2 at disparity 3 leaves the image, column 4 is missing from disp_noc
    assert pair.occluded.nonzero().tolist() == [[1, 2], [1, 4]]


def test_the_inner_folder_may_be_named_too(root):
    assert find_pairs(root / "training") == find_pairs(root)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the folders image_2, image_3"):
        find_pairs(tmp_path)


def test_the_sample_of_shared_is_read():
    (files,) = find_pairs(shared("data/stereo/layouts/KITTI_2015"))
    assert files.disp_seen_by_both is None
    pair = read_pair(files)
    assert pair.left.shape == (3, 375, 1242)
    assert pair.disp[pair.known].min() > 1
    assert 0.1 < pair.known.float().mean() < 0.4
    assert colour_error(pair) < 0.06
