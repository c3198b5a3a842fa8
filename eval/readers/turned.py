"""Cameras whose images are turned upright by quarter turns."""

import numpy as np

QUARTER = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # of rays: (x, y) -> (y, -x)


def turned_camera(
    K: np.ndarray, size: tuple[int, int], turns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) of an image turned by `np.rot90(image, turns)`, and the turn (4, 4) of its camera.

    After SuperGlue's `rotate_intrinsics` and `rotate_pose_inplane`; size is (height, width) before the turn.
    A pose T_0to1 becomes turn1 @ T_0to1 @ inv(turn0).
    """
    pixels, (H, W) = np.eye(3), size
    for _ in range(turns):
        # np.rot90 takes pixel (x, y) to (y, W - 1 - x).
        pixels = np.array([[0.0, 1, 0], [-1, 0, W - 1], [0, 0, 1]]) @ pixels
        H, W = W, H
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.matrix_power(QUARTER, turns)
    return pixels @ K @ turn[:3, :3].T, turn
