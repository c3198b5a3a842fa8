from pathlib import Path

import numpy as np
import pytest

from data_scripts.pose_chain import chained
from data_scripts.rgbd_folders import Frame, Scan


def motion(x, turn_deg=0.0):
    """A camera that went x metres to the right and turned about its y axis: T_0to1."""
    a = np.deg2rad(turn_deg)
    T = np.eye(4)
    T[:3, :3] = [[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]
    T[0, 3] = -x
    return T


def scan(count, *listed):
    frames = [
        Frame(Path(f"{n}.jpg"), Path(f"{n}.png"), np.eye(3), None, None) for n in range(count)
    ]
    return Scan("room", frames, listed)


def test_poses_go_over_other_frames_and_against_the_direction_of_a_motion():
    # 1 is 1 m right of 0; 2 is turned by 90 degrees at 1; 3 is 2 m back along what 2 calls right
    (part,) = chained(scan(4, (0, 1, motion(1)), (1, 2, motion(0, 90)), (3, 2, motion(2))))
    assert part.name == "room"
    assert not part.listed
    centres = [np.linalg.inv(frame.T_w2c)[:3, 3] for frame in part.frames]
    np.testing.assert_allclose(centres, [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 2]], atol=1e-12)


def test_parts_that_no_motion_connects_stand_alone_the_largest_first():
    parts = chained(scan(5, (0, 3, motion(1)), (1, 2, motion(1)), (2, 4, motion(1))))
    assert [part.name for part in parts] == ["room", "room/2"]
    assert [[frame.image.stem for frame in part.frames] for part in parts] == [
        ["1", "2", "4"],
        ["0", "3"],
    ]
    assert [frame.T_w2c[0, 3] for frame in parts[0].frames] == [0, -1, -2]


@pytest.mark.parametrize("last", [motion(2.1), motion(2, 2)])
def test_motions_that_disagree_are_refused(last):
    around = (0, 1, motion(1)), (1, 2, motion(1))
    (part,) = chained(scan(3, *around, (0, 2, motion(2.01))))
    assert len(part.frames) == 3
    with pytest.raises(ValueError, match=r"room: the motion from .*jpg to .*jpg disagrees"):
        chained(scan(3, *around, (0, 2, last)))


def test_a_scan_with_poses_stays_as_it_is():
    given = scan(2)
    assert chained(given) == [given]
