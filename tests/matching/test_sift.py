import numpy as np

from matching.sift import keypoints_of, mutual_matches
from tests.matching.test_aligned_look import texture


def test_a_shifted_image_is_matched_by_its_shift():
    image = texture(160, 200)
    side0, side1 = keypoints_of(image[:, :180]), keypoints_of(image[:, 20:])
    index0, index1, ratios = mutual_matches(side0, side1)
    shift = side0.kpts[index0] - side1.kpts[index1]
    assert len(index0) > 20
    assert (np.linalg.norm(shift - [20, 0], axis=1) < 1).mean() > 0.9
    assert (np.diff(ratios) >= 0).all()
    assert ratios.max() < 0.8
    assert len(set(index1)) == len(index1)


def test_no_key_point_lies_outside_the_mask():
    mask = np.zeros((160, 200), bool)
    mask[:, 100:] = True
    assert (keypoints_of(texture(160, 200), mask).kpts[:, 0] >= 99.5).all()


def test_an_even_image_has_none_and_matches_nothing():
    even = keypoints_of(np.full((64, 64), 128, np.uint8))
    assert even.kpts.shape == (0, 2)
    assert even.desc.shape == (0, 128)
    for found in mutual_matches(even, keypoints_of(texture(64, 64))):
        assert found.shape == (0,)


def test_precise_points_of_a_half_turn_lie_where_they_were():
    image = texture(160, 200)
    off = {}
    for precise in (False, True):
        side0, side1 = (
            keypoints_of(each, precise=precise) for each in (image, image[::-1, ::-1].copy())
        )
        index0, index1, _ = mutual_matches(side0, side1)
        off[precise] = np.median(side0.kpts[index0] + side1.kpts[index1] - [199, 159], axis=0)
    assert np.abs(off[True]).max() < 0.1
    np.testing.assert_allclose(off[False], 0.5, atol=0.1)  # a quarter of a pixel in either view
