import cv2
import numpy as np
import pytest
import torch

from stereo import semi_global
from stereo.semi_global import PLAUSIBLE, SURE_PX, fill_background, with_semi_global

NAN = np.nan
SHIFT = 12


@pytest.fixture
def scene(generator):
    """Left and right (1, 3, 80, 160) of a smoothly textured wall, the right one SHIFT px on."""
    wide = torch.rand(1, 3, 80, 160 + SHIFT, generator=generator)
    wide = torch.nn.functional.avg_pool2d(wide, 3, 1, 1)
    return wide[..., :-SHIFT], wide[..., SHIFT:]


def answer(wrong=3.0, expected=2.0):
    """Disparities that are off by `wrong` px in a box, and the error that is expected of them there."""
    disp, spread = torch.full((1, 80, 160), float(SHIFT)), torch.full((1, 80, 160), 0.3)
    disp[:, 20:60, 60:120] += wrong
    spread[:, 20:60, 60:120] = expected
    return disp, spread


def test_weak_places_are_matched_and_sure_ones_stay(scene):
    disp, spread = answer()
    found = with_semi_global(*scene, disp, spread)
    weak = spread > SURE_PX
    assert (found[weak] - SHIFT).abs().quantile(0.99) < 0.5
    assert torch.equal(found[~weak], disp[~weak])


@pytest.mark.parametrize(("wrong", "stays"), [(-3.5, False), (-4.5, True), (20.0, True)])
def test_an_answer_too_far_from_the_networks_is_not_taken(scene, wrong, stays):
    disp, spread = answer(wrong, expected=2.0)
    assert PLAUSIBLE == 2
    found = with_semi_global(*scene, disp, spread)
    weak = spread > SURE_PX
    assert bool((found[weak] == disp[weak]).float().mean() > 0.95) is stays


def test_nothing_is_matched_where_all_is_sure(scene, monkeypatch):
    monkeypatch.setattr(semi_global, "semi_global", lambda *_: pytest.fail("not wanted"))
    disp, _ = answer()
    assert torch.equal(with_semi_global(*scene, disp, torch.full_like(disp, SURE_PX)), disp)


def test_images_without_texture_keep_what_is_plausible():
    grey = torch.full((1, 3, 80, 160), 0.5)
    disp, spread = answer(wrong=6.0, expected=2.0)
    found = with_semi_global(grey, grey, disp, spread)
    assert torch.equal(found, disp)  # the wall's own disparity is three expected errors off


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (1, 40), (40, 1), (33, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_size_and_dtype_with_nothing_sure(size, dtype, generator):
    images = torch.rand(2, 2, 3, *size, generator=generator).to(dtype)
    disp = (size[1] * torch.rand(2, *size, generator=generator)).to(dtype)
    found = with_semi_global(*images, disp, torch.full_like(disp, 50))
    assert found.shape == disp.shape
    assert found.dtype is dtype
    assert found.isfinite().all()


def test_a_batch_equals_its_singles_whatever_the_threads(scene, generator):
    left, right = (torch.cat([image, image.flip(2)]) for image in scene)
    disp = torch.cat([answer()[0], answer(-2.0)[0]])
    spread = torch.rand(2, 80, 160, generator=generator) * 4
    found = with_semi_global(left, right, disp, spread)
    before = cv2.getNumThreads()
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            for one in range(2):
                pick = slice(one, one + 1)
                single = with_semi_global(left[pick], right[pick], disp[pick], spread[pick])
                assert torch.equal(single, found[pick])
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("sure", "width", "want"),
    [([], 400, 128), ([0.0], 400, 16), ([10.0] * 5, 400, 32), ([90.0], 400, 112), ([90.0], 60, 64)],
)
def test_the_range_goes_beyond_what_is_sure(sure, width, want):
    assert semi_global._range(np.array(sure), width) == want


@pytest.mark.parametrize(
    ("row", "want"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([5, NAN, NAN, 2], [5, 2, 2, 2]),  # the farther side fills a hole
        ([NAN, 4, NAN], [4, 4, 4]),
        ([NAN, 3, NAN, 7, NAN], [3, 3, 3, 7, 7]),
        ([NAN, NAN], [0, 0]),
    ],
)
def test_holes_are_filled_along_the_row(row, want):
    np.testing.assert_array_equal(fill_background(np.array([row])), [want])


def test_empty_rows_take_the_row_above_else_below():
    disp = np.full((5, 2), NAN)
    disp[1], disp[3] = 4, 9
    np.testing.assert_array_equal(fill_background(disp)[:, 0], [4, 4, 4, 9, 9])
