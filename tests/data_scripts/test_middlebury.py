import cv2
import numpy as np
import pytest

from data_scripts.disparity_files import write_pfm
from data_scripts.middlebury import find_pairs, read_pair
from tests.data_scripts.stereo_checks import both_ways, colour_error, hidden_colour_error
from tests.shared_data import shared


def write_scene(folder, ending, sides=(0, 1)):
    folder.mkdir(parents=True, exist_ok=True)
    for side in (0, 1):
        cv2.imwrite(str(folder / f"im{side}.png"), np.full((3, 8, 3), 90, np.uint8))
    for side in sides:
        disp = np.full((3, 8), 2, np.float32)
        disp[0, 0] = np.inf
        write_pfm(folder / f"disp{side}{ending}.pfm", disp)


@pytest.mark.parametrize("ending", ["GT", ""])
def test_scenes_of_the_benchmark_and_by_year_are_found(tmp_path, ending):
    write_scene(tmp_path / "b" / "Piano", ending)
    write_scene(tmp_path / "a" / "Adirondack", ending, sides=(0,))
    write_scene(tmp_path / "test" / "Hidden", ending, sides=())
    found = find_pairs(tmp_path)
    assert [files.images[0].parent.name for files in found] == ["Adirondack", "Piano"]
    first, second = (read_pair(files) for files in found)
    assert not first.both_sides
    assert second.both_sides
    assert not second.known[0, 0]
    assert second.occluded[1].tolist() == [True, True] + [False] * 6


def test_masks_tell_what_is_occluded(tmp_path):
    write_scene(tmp_path, "GT")
    mask = np.full((3, 8), 255, np.uint8)
    mask[2, 5], mask[2, 6] = 128, 0
    cv2.imwrite(str(tmp_path / "mask0nocc.png"), mask)
    (files,) = find_pairs(tmp_path)
    assert read_pair(files).occluded[2].nonzero().flatten().tolist() == [0, 1, 5]


def test_folders_without_scenes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"im0\.png, im1\.png and disp0GT\.pfm"):
        find_pairs(tmp_path)


def test_the_sample_of_shared_is_read():
    (files,) = find_pairs(shared("data/stereo/layouts/MIDDLEBURY_2014"))
    for pair in both_ways(read_pair(files)):
        assert pair.left.shape == (3, 497, 741)
        assert pair.disp[pair.known].min() > 9
        assert pair.disp.max() < 70
        assert pair.known.float().mean() > 0.9
        assert colour_error(pair) < 0.06
        assert hidden_colour_error(pair) > 2 * colour_error(pair)
