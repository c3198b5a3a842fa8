import kornia
import numpy as np
import pytest
import torch

from eval.occlusion import add_occlusion, count_occlusion

ALL = np.ones((1, 4), bool)
SAID = np.array([[True, True, False, True]])
IS_SO = np.array([[True, False, True, True]])


def test_overlap_and_f1_by_hand():
    found = count_occlusion(SAID, IS_SO, ALL)
    assert found.iou == 2 / 4
    assert found.f1 == 2 * 2 / (2 * 2 + 1 + 1)
    known = count_occlusion(SAID, IS_SO, np.array([[True, True, True, False]]))
    assert known.iou == 1 / 3


def test_the_two_class_figure_adds_intersections_and_unions():
    # occluded: 2 of 4; visible: 0 of 2 -> (2 + 0) / (4 + 2)
    assert count_occlusion(SAID, IS_SO, ALL).two_class_iou == 2 / 6


def test_nothing_said_and_nothing_true_is_nan_but_right_for_both_classes():
    found = count_occlusion(~ALL, ~ALL, ALL)
    assert np.isnan(found.iou)
    assert np.isnan(found.f1)
    assert found.two_class_iou == 1


def test_images_together_are_one_image():
    rng = np.random.default_rng(0)
    said, is_so, counts = rng.random((3, 6, 5, 7)) < 0.4
    parts = [count_occlusion(*each) for each in zip(said, is_so, counts, strict=True)]
    whole = count_occlusion(*(each.reshape(30, 7) for each in (said, is_so, counts)))
    assert add_occlusion(parts) == whole


def test_overlap_of_each_class_is_that_of_kornia():
    rng = np.random.default_rng(1)
    said, is_so = rng.random((2, 9, 11)) < 0.4
    tensors = [torch.from_numpy(each[None].astype(np.int64)) for each in (said, is_so)]
    want = kornia.metrics.mean_iou(*tensors, num_classes=2)[0]
    everywhere = np.ones_like(said)
    assert count_occlusion(said, is_so, everywhere).iou == pytest.approx(float(want[1]))
    assert count_occlusion(~said, ~is_so, everywhere).iou == pytest.approx(float(want[0]))
