import cv2
import numpy as np
import pytest

from data_scripts.stereo_labels import SideLabels, labelled_pair


@pytest.fixture
def image_paths(tmp_path):
    paths = tmp_path / "left.png", tmp_path / "right.png"
    for path in paths:
        cv2.imwrite(str(path), np.zeros((2, 9, 3), np.uint8))
    return paths


# a wall at disparity 1 and, in columns 5 and 6 of the left image, a bar at disparity 3
LEFT = np.array([[1, 1, 1, 1, 1, 3, 3, 1, 1]] * 2, np.float32)
RIGHT = np.array([[1, 1, 3, 3, 1, 1, 1, 1, 1]] * 2, np.float32)


def test_occlusion_comes_from_both_disparities_where_no_mask_says_it(image_paths):
    pair = labelled_pair(image_paths, SideLabels(LEFT), SideLabels(RIGHT))
    assert pair.occluded[0].nonzero().flatten().tolist() == [0, 3, 4]
    assert pair.occluded_right[1].nonzero().flatten().tolist() == [4, 5, 8]


def test_a_mask_is_believed_and_what_leaves_the_image_is_added(image_paths):
    mask = np.zeros((2, 9), bool)
    mask[:, 7] = True
    pair = labelled_pair(image_paths, SideLabels(LEFT, mask))
    assert pair.occluded[0].nonzero().flatten().tolist() == [0, 7]
    assert not pair.both_sides


@pytest.mark.parametrize("unknown", [0.0, -1.0, np.inf, np.nan])
def test_unknown_disparities_are_zero_and_neither_known_nor_occluded(image_paths, unknown):
    left = LEFT.copy()
    left[0, 4] = unknown
    pair = labelled_pair(image_paths, SideLabels(left), SideLabels(RIGHT))
    assert pair.disp[0, 4] == 0
    assert not pair.known[0, 4]
    assert not pair.occluded[0, 4]
    assert pair.known.sum() == 17


def test_disparities_of_another_size_are_refused(image_paths):
    with pytest.raises(ValueError, match=r"must be of its size \(2, 9\), got \(4, 9\)"):
        labelled_pair(image_paths, SideLabels(np.ones((4, 9), np.float32)))
