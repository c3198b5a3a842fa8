from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_scripts import homography_list
from data_scripts.conversion import convert
from data_scripts.dataset import open_dataset
from data_scripts.dataset_views import labelled_view
from data_scripts.pairs_from_depth import Choice, plan, score_folder
from data_scripts.planners import hpatches
from tests.data_scripts.dataset_files import draw_plan
from tests.data_scripts.pair_checks import colour_error
from tests.shared_data import shared


def converted(a_plan, folder):
    convert(a_plan, folder / "set.h5")
    return open_dataset(folder / "set.h5")


def test_labels_from_depth_and_pose_are_exact(tmp_path):
    with converted(draw_plan(tmp_path), tmp_path) as data:
        view = labelled_view(replace(data[0], T_0to1=np.array(data[0].T_0to1)), long_side=None)
    # f 500 px, 1 m to the right: 250 px at 2 m, which leaves an image of 32 px
    assert not view.visible_0to1.any()
    with open_dataset(tmp_path / "set.h5") as data:
        same = replace(data[0], image1=data[0].image0, T_0to1=np.eye(4))
        view = labelled_view(same, long_side=None)
    assert view.visible_0to1.float().mean() > 0.99  # all but the pixel of unknown depth
    assert view.warp_0to1[7, 9].tolist() == pytest.approx([9, 7], abs=1e-3)


def test_labels_from_a_homography_are_those_of_its_list(tmp_path):
    raw = shared("data/homography/opencv_graf")
    wanted = next(homography_list.read_all(raw / "pairs.json", 200))
    with converted(hpatches.plan(raw), tmp_path) as data:
        found = labelled_view(data[0], 200)
    np.testing.assert_array_equal(found.warp_0to1, wanted.warp_0to1)
    np.testing.assert_array_equal(found.image1, wanted.image1)


@pytest.mark.parametrize(("name", "error"), [("redwood5", 0.03), ("7scenes_redkitchen", 0.12)])
def test_labels_of_real_scans_fit_the_pictures(tmp_path, name, error):
    raw = shared(f"data/pose/{name}")
    with converted(plan(score_folder(raw, Choice(min_overlap=0.8)), raw), tmp_path) as data:
        view = labelled_view(data[0], 320)
    assert view.visible_0to1.float().mean() > 0.4
    assert colour_error(view) < error


def test_depth_of_another_camera_is_moved_to_the_pixels_of_the_image(tmp_path):
    drawn = draw_plan(tmp_path)
    depth = np.full((24, 32), 2000, np.uint16)
    depth[:, 20:] = 4000
    cv2.imwrite(str(tmp_path / "depth0.png"), depth)
    # half the focal length of the colour camera: column x of the image is 15.5 + (x - 15.5) / 2
    half = np.array([[250, 0, 15.5], [0, 250, 11.5], [0, 0, 1.0]])
    images = [replace(drawn.images[0], K_depth=half), *drawn.images[1:]]
    with converted(replace(drawn, images=images), tmp_path) as data:
        same = replace(data[0], image1=data[0].image0, T_0to1=np.eye(4))
        depth0 = labelled_view(same, long_side=None).depth0
    # 15.5 + (24 - 15.5) / 2 = 19.75, of the pixel 20; 15.5 + (23 - 15.5) / 2 = 19.25, of the pixel 19
    assert depth0[12, 22:26].tolist() == [2, 2, 4, 4]


def test_what_tells_no_motion_is_refused(tmp_path):
    with converted(draw_plan(tmp_path), tmp_path) as data:
        with pytest.raises(ValueError, match="neither"):
            labelled_view(replace(data[0], T_0to1=None))
        with pytest.raises(ValueError, match="no depth"):
            labelled_view(replace(data[0], image0=replace(data[0].image0, maps=frozenset())))
        with pytest.raises(ValueError, match="quarter turns"):
            labelled_view(replace(data[0], turns=(0, 1)))
