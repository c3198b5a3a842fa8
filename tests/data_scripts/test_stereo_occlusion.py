import numpy as np

from data_scripts.stereo_occlusion import occlusion


def test_a_near_bar_hides_its_shadow_by_hand():
    # left: wall at disparity 1, bar (number 1) at disparity 3 in columns 5 and 6
    disp = np.array([[1, 1, 1, 1, 1, 3, 3, 1, 1]], np.float32)
    number = (disp == 3).astype(np.int16)
    # right: the bar lies in columns 2 and 3, the wall moved by one
    other = np.array([[1, 1, 3, 3, 1, 1, 1, 1, 1]], np.float32)
    other_number = (other == 3).astype(np.int16)
    hidden = occlusion(disp, number, other, other_number, sign=-1)
    # column 0 leaves the image; 3 and 4 lie behind the bar
    assert np.flatnonzero(hidden[0]).tolist() == [0, 3, 4]
    back = occlusion(other, other_number, disp, number, sign=1)
    # 4 and 5 lie behind the bar, 8 leaves the image
    assert np.flatnonzero(back[0]).tolist() == [4, 5, 8]


def test_a_steep_surface_does_not_hide_itself():
    # x - disp = x / 2: two left pixels to every right one
    disp = np.arange(40, dtype=np.float32)[None] / 2
    other = np.arange(40, dtype=np.float32)[None]
    number = np.zeros((1, 40), np.int16)
    assert not occlusion(disp, number, other, number, sign=-1).any()


def test_a_surface_may_hide_itself_behind_its_own_hill():
    disp = np.full((1, 30), 2, np.float32)
    other = np.full((1, 30), 2, np.float32)
    other[:, 10:14] = 6
    number = np.zeros((1, 30), np.int16)
    hidden = occlusion(disp, number, other, number, sign=-1)
    assert np.flatnonzero(hidden[0]).tolist() == [0, 1, 12, 13, 14, 15]
