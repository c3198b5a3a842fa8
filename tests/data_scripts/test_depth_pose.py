import json

import numpy as np
import pytest
import torch

from data_scripts.depth_pose import PosedImage, posed_pair, warp_from_depth
from data_scripts.images import read_depth, read_rgb
from tests.data_scripts.pair_checks import colour_error, round_trip_px
from tests.shared_data import shared

K = torch.tensor([[20.0, 0, 9.5], [0, 20.0, 7.5], [0, 0, 1]])


def step_right(metres):
    """T_0to1 of a camera that moves to the right: points move to the left."""
    T = torch.eye(4)
    T[0, 3] = -metres
    return T


def test_a_flat_wall_shifts_by_focal_times_step_over_depth():
    wall = torch.full((16, 20), 4.0)
    warp, seen = warp_from_depth(wall, K, wall, K, step_right(1.0))
    # 20 px * 1 m / 4 m = 5 px
    assert warp[3, 12].tolist() == pytest.approx([7, 3])
    assert seen[:, 5:].all()
    assert not seen[:, :5].any()
    assert (warp[~seen] == 0).all()


def test_what_a_nearer_thing_covers_is_not_seen():
    wall = torch.full((16, 20), 4.0)
    blocked = wall.clone()
    blocked[4:9, 3:7] = 2.0
    _, seen = warp_from_depth(wall, K, blocked, K, step_right(1.0))
    assert not seen[4:9, 8:12].any()
    assert seen[10:, 8:12].all()


def test_unknown_depth_is_not_seen_and_its_neighbours_are():
    wall = torch.full((16, 20), 4.0)
    holes = wall.clone()
    holes[5, 6], holes[9, 3] = 0, torch.nan
    warp, seen = warp_from_depth(holes, K, wall, K, step_right(0.0))
    assert not seen[5, 6]
    assert not seen[9, 3]
    assert seen.sum() == 16 * 20 - 2
    assert torch.isfinite(warp).all()
    _, seen = warp_from_depth(wall, K, holes, K, step_right(0.9))  # 4.5 px: between two pixels
    assert seen[5, 10]
    assert seen[5, 11]


def test_a_slanted_plane_agrees_with_itself_closely():
    x = torch.arange(20.0).expand(16, 20)
    slanted = 1 / (0.2 + 0.01 * x)  # a plane: 1 / depth is linear in the pixel
    warp, seen = warp_from_depth(slanted, K, slanted, K, torch.eye(4), tolerance=1e-5)
    assert seen[1:-1, 1:-1].all()  # rounding may put the border itself a hair outside
    torch.testing.assert_close(warp[1:-1, 1:-1, 0], x[1:-1, 1:-1], rtol=0, atol=1e-4)


def test_points_behind_the_other_camera_are_not_seen():
    wall = torch.full((16, 20), 2.0)
    T = torch.eye(4)
    T[2, 3] = -5.0
    assert not warp_from_depth(wall, K, wall, K, T)[1].any()


def test_depths_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"depth1 must be \(H, W\)"):
        warp_from_depth(torch.ones(4, 5), K, torch.ones(1, 4, 5), K, torch.eye(4))


def test_depths_of_another_size_than_the_image_are_refused():
    view = PosedImage(np.zeros((8, 8, 3), np.uint8), np.ones((4, 4), np.float32), K, np.eye(4))
    with pytest.raises(ValueError, match=r"PosedImage\.resized"):
        posed_pair(view, view)


def redwood_views():
    folder = shared("data/pose/redwood5")
    return [
        PosedImage(
            image=read_rgb(folder / frame["image"]),
            depth=read_depth(folder / frame["depth"]),
            K=np.array(frame["K"], np.float64),
            T_world_to_cam=np.linalg.inv(np.array(frame["T_c2w"])),
        ).resized(320)
        for frame in json.loads((folder / "frames.json").read_text())
    ]


@pytest.mark.parametrize("second", [1, 4])
def test_registered_frames_agree_in_colour_at_the_warp(second):
    views = redwood_views()
    pair = posed_pair(views[0], views[second])
    still = posed_pair(views[0], views[second])
    y, x = torch.meshgrid(torch.arange(240.0), torch.arange(320.0), indexing="ij")
    still = still.__class__(**{**still.__dict__, "warp_0to1": torch.stack([x, y], -1)})
    assert pair.visible_share[0] > 0.4
    assert colour_error(pair) < 0.05
    assert colour_error(pair) < 0.6 * colour_error(still)
    assert round_trip_px(pair).median() < 0.3
