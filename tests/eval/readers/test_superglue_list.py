import cv2
import numpy as np
import pytest

from eval.image_source import read_rgb
from eval.pose import essential_from_pose
from eval.readers.superglue_list import read_superglue_list
from tests.eval.scene_points import K0, K1, exact_matches, pose_0to1

NUMBERS = " ".join(map(str, range(34)))


def test_fields_are_read_in_the_order_of_the_format(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"s/a.jpg s/b.jpg 0 0 {NUMBERS}\n\n")
    (pair,) = read_superglue_list(path, tmp_path / "images")
    assert pair.image1 == tmp_path / "images/s/b.jpg"
    np.testing.assert_array_equal(pair.truth.K0, np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(pair.truth.K1, np.arange(9, 18).reshape(3, 3))
    np.testing.assert_array_equal(pair.truth.T_0to1, np.arange(18, 34).reshape(4, 4))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg b.jpg 0 0 1 2 3", "line 1: wanted 38 fields, got 7"),
        (f"a.jpg b.jpg 4 0 {NUMBERS}", "line 1: wanted rotations 0 to 3, got 4 0"),
        (f"a.jpg b.jpg 0 0 x{NUMBERS}", "line 1: wanted 34 numbers"),
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path, line, message):
    path = tmp_path / "list.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=message):
        read_superglue_list(path, tmp_path)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_cameras_are_turned_with_their_images(tmp_path, turns):
    T_0to1, size = pose_0to1(), (60, 80)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*size, 3), np.uint8))
    numbers = " ".join(repr(float(n)) for n in (*K0.ravel(), *K1.ravel(), *T_0to1.ravel()))
    (tmp_path / "list.txt").write_text(f"a.png a.png {turns} 0 {numbers}")
    (pair,) = read_superglue_list(tmp_path / "list.txt", tmp_path)
    H, W = size
    kpts0, kpts1 = exact_matches(T_0to1)
    for _ in range(turns):  # np.rot90 of an image with one bright pixel says the same
        kpts0, (H, W) = np.column_stack([kpts0[:, 1], W - 1 - kpts0[:, 0]]), (W, H)
    assert read_rgb(pair.image0).shape[:2] == (H, W)
    truth = pair.truth
    rays0, rays1 = (
        np.column_stack([kpts, np.ones(len(kpts))]) @ np.linalg.inv(K).T
        for kpts, K in ((kpts0, truth.K0), (kpts1, truth.K1))
    )
    residual = (rays1 * (rays0 @ essential_from_pose(truth.T_0to1).T)).sum(1)
    np.testing.assert_allclose(residual, 0, atol=1e-9)
    assert truth.K0[0, 1] == truth.K0[1, 0] == 0
    # K0 of 60 x 80 by hand: fx and fy change places for odd turns
    assert (truth.K0[0, 0], truth.K0[1, 1]) == ((720, 700) if turns % 2 else (700, 720))


def test_a_turn_moves_a_pixel_as_rot90_does(tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    image[7, 11] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "list.txt").write_text(f"a.png a.png 1 0 {NUMBERS}")
    (pair,) = read_superglue_list(tmp_path / "list.txt", tmp_path)
    (y,), (x,) = np.nonzero(read_rgb(pair.image0)[..., 0])
    assert (x, y) == (7, 80 - 1 - 11)
