import cv2
import numpy as np
import pytest

from data_scripts.disparity_files import write_pfm
from data_scripts.sceneflow import find_pairs, read_pair
from tests.data_scripts.stereo_checks import both_ways, colour_error, hidden_colour_error
from tests.shared_data import shared

# full FlyingThings3D, Driving, the sampler, the DispNet subset
NAMES = [
    ("frames_finalpass", "TRAIN/A/0000/{}/0006"),
    ("frames_finalpass", "15mm_focallength/scene_forwards/fast/{}/0001"),
    ("RGB_finalpass", "{}/A-0032-0006"),
    ("image_final", "{}/0000000"),
]


def write_pair(root, folder, name, disp):
    for side in ("left", "right"):
        image, map_path = (
            root / kind / (name.format(side) + suffix)
            for kind, suffix in ((folder, ".png"), ("disparity", ".pfm"))
        )
        image.parent.mkdir(parents=True, exist_ok=True)
        map_path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.full((*disp.shape, 3), 90, np.uint8))
        write_pfm(map_path, disp)


@pytest.mark.parametrize(("folder", "name"), NAMES)
def test_all_layouts_are_found(tmp_path, folder, name):
    write_pair(tmp_path, folder, name, np.full((3, 8), 2, np.float32))
    (files,) = find_pairs(tmp_path)
    assert files.images[1] == tmp_path / folder / (name.format("right") + ".png")
    pair = read_pair(files)
    assert pair.both_sides
    assert pair.occluded.sum(1).tolist() == [2, 2, 2]
    assert pair.occluded_right[:, 6:].all()


def test_disparities_stored_as_motion_are_made_positive(tmp_path):
    write_pair(tmp_path, *NAMES[0], np.full((3, 8), -2, np.float32))
    (files,) = find_pairs(tmp_path)
    assert (read_pair(files).disp == 2).all()


def test_occlusion_masks_are_read(tmp_path):
    write_pair(tmp_path, *NAMES[3], np.full((3, 8), 2, np.float32))
    mask = np.zeros((3, 8), np.uint8)
    mask[1, 5] = 255
    (tmp_path / "occlusion" / "left").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "occlusion" / "left" / "0000000.png"), mask)
    (files,) = find_pairs(tmp_path)
    assert read_pair(files).occluded[1].nonzero().flatten().tolist() == [0, 1, 5]


def test_wrong_folders_and_passes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold disparity and one of frames_clean"):
        find_pairs(tmp_path, "clean")
    with pytest.raises(ValueError, match="render_pass must be clean or final"):
        find_pairs(tmp_path, "dirty")


def test_the_sample_of_shared_is_read():
    (files,) = find_pairs(shared("data/stereo/layouts/SCENE_FLOW"), "clean")
    for pair in both_ways(read_pair(files)):
        assert pair.left.shape == (3, 540, 960)
        assert pair.known.all()
        assert 130 < pair.disp.max() < 131
        assert colour_error(pair) < 0.03
        assert hidden_colour_error(pair) > 4 * colour_error(pair)
