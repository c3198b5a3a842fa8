import numpy as np
import pytest
import torch

from data_scripts.two_view import TwoView, sample_warp


def zoomed_warp(H, W, scale):
    y, x = torch.meshgrid(torch.arange(H).float(), torch.arange(W).float(), indexing="ij")
    return torch.stack([scale * x + 3, scale * y - 1], -1)


def test_between_pixels_of_one_surface_the_warp_is_bilinear():
    there, ok = sample_warp(
        zoomed_warp(5, 6, 2.5), torch.ones(5, 6, dtype=torch.bool), torch.tensor([[1.5, 2.25]])
    )
    assert ok.all()
    torch.testing.assert_close(there, torch.tensor([[1.5 * 2.5 + 3, 2.25 * 2.5 - 1]]))


@pytest.mark.parametrize("x", [2.2, 2.8])
def test_across_a_depth_edge_the_nearest_pixel_counts(x):
    warp = zoomed_warp(4, 6, 1.0)
    warp[:, 3:, 0] += 8  # the surface from column 3 on lies elsewhere; the edge is upright
    there, ok = sample_warp(warp, torch.ones(4, 6, dtype=torch.bool), torch.tensor([[x, 1.0]]))
    assert ok.all()
    torch.testing.assert_close(there[0], warp[1, round(x)])


def test_a_strongly_stretched_surface_is_no_edge():
    # steps of 12 px that grow by a tenth each: a plane seen at a grazing angle
    x = 12 * torch.cumsum(1.1 ** torch.arange(6.0), 0)
    warp = torch.stack([x.expand(4, 6), torch.arange(4.0)[:, None].expand(4, 6)], -1)
    there, _ = sample_warp(warp, torch.ones(4, 6, dtype=torch.bool), torch.tensor([[2.5, 1.5]]))
    torch.testing.assert_close(there[0], torch.stack([(x[2] + x[3]) / 2, torch.tensor(1.5)]))


def test_a_hidden_neighbour_leaves_only_the_nearest_pixel():
    visible = torch.ones(4, 4, dtype=torch.bool)
    visible[1, 2] = False
    points = torch.tensor([[1.2, 1.2], [1.9, 1.1]])  # nearest: (1, 1), seen; (2, 1), hidden
    there, ok = sample_warp(zoomed_warp(4, 4, 1.0), visible, points)
    assert ok.tolist() == [True, False]
    assert there.tolist() == [[4.0, 0.0], [0.0, 0.0]]


def test_points_off_the_image_are_not_known():
    points = torch.tensor([[-0.1, 1.0], [3.1, 1.0], [1.0, 9.0], [float("nan"), 1.0], [3.0, 3.0]])
    _, ok = sample_warp(zoomed_warp(4, 4, 1.0), torch.ones(4, 4, dtype=torch.bool), points)
    assert ok.tolist() == [False, False, False, False, True]


def test_arrays_give_what_tensors_give(generator):
    warp = zoomed_warp(7, 9, 1.7)
    visible = torch.rand(7, 9, generator=generator) > 0.3
    points = torch.rand(50, 2, generator=generator) * 9
    want = sample_warp(warp, visible, points)
    got = sample_warp(warp.numpy(), visible.numpy(), points.numpy())
    for array, tensor in zip(got, want, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())


def test_points_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"points must be \(N, 2\)"):
        sample_warp(zoomed_warp(4, 4, 1.0), torch.ones(4, 4, dtype=torch.bool), torch.zeros(3))


def test_swapping_twice_gives_the_pair_back():
    T = torch.eye(4)
    T[0, 3] = 2.0
    pair = TwoView(
        image0=torch.zeros(3, 4, 5),
        image1=torch.ones(3, 6, 7),
        warp_0to1=torch.zeros(4, 5, 2),
        visible_0to1=torch.zeros(4, 5, dtype=torch.bool),
        warp_1to0=torch.ones(6, 7, 2),
        visible_1to0=torch.ones(6, 7, dtype=torch.bool),
        T_0to1=T,
    )
    assert pair.swapped().visible_share == (1.0, 0.0)
    assert pair.swapped().T_0to1[0, 3] == -2
    twice = pair.swapped().swapped()
    assert twice.image1 is pair.image1
    torch.testing.assert_close(twice.T_0to1, T)
