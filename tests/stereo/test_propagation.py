import pytest
import torch

from stereo import propagation
from stereo.photometric import seen
from stereo.propagation import GAIN, MOVES, STEP_PX, WINDOW, _median, propagated, round_of_operators
from stereo.propagation_loop import one_round, plain


def scene(height=40, width=80, near=12, far=4, seed=0):
    """A textured square before a textured wall: left and right (1, 3, H, W), disparity (H, W)."""
    generator = torch.Generator().manual_seed(seed)
    wall = torch.rand(3, height, width + near, generator=generator)
    square = torch.rand(3, height // 2, width // 3, generator=generator)
    top, start = height // 4, width // 2
    # a point of the wall at x of the left lies at x - far of the right
    left = wall[:, :, :width].clone()
    right = wall[:, :, far : far + width].clone()
    disp = torch.full((height, width), float(far))
    rows = slice(top, top + square.shape[1])
    left[:, rows, start : start + square.shape[2]] = square
    right[:, rows, start - near : start - near + square.shape[2]] = square
    disp[rows, start : start + square.shape[2]] = near
    return left[None], right[None], disp


def fat(disp, by):
    """Disparity whose near surface is too wide by `by` px on each side, as a coarse network's is."""
    return torch.nn.functional.max_pool2d(disp[None], 2 * by + 1, 1, by)


def test_a_surface_that_is_too_wide_shrinks_to_where_the_images_agree():
    left, right, disp = scene()
    given = fat(disp, 3)
    found = propagated(left, right, given, rounds=2)
    seen = torch.ones_like(disp, dtype=torch.bool)
    seen[:, 28:40] = False  # beside the square's left edge the right image does not show the wall
    wrong = ((found[0] - disp).abs() > 1) & seen
    before = ((given[0] - disp).abs() > 1) & seen
    assert before.sum() > 100
    assert wrong.sum() < 0.25 * before.sum()


def test_no_value_comes_out_that_did_not_go_in():
    left, right, disp = scene(seed=1)
    given = fat(disp, 2) + torch.rand(disp.shape, generator=torch.Generator().manual_seed(3))
    found = propagated(left, right, given)
    assert torch.isin(found, given).all()


def test_zero_rounds_leave_the_disparity_alone():
    left, right, disp = scene()
    assert torch.equal(propagated(left, right, disp[None], rounds=0), disp[None])


def test_images_without_texture_keep_their_disparity():
    grey = torch.full((1, 3, 24, 32), 0.5)
    disp = torch.linspace(0, 6, 24)[:, None].expand(24, 32)[None].contiguous()
    torch.testing.assert_close(propagated(grey, grey, disp), disp)


def test_a_batch_equals_its_singles():
    pairs = [scene(seed=seed) for seed in (4, 5)]
    left, right = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    disp = torch.cat([fat(pair[2], 2) for pair in pairs])
    singles = [propagated(a, b, fat(d, 2)) for a, b, d in pairs]
    torch.testing.assert_close(propagated(left, right, disp), torch.cat(singles))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_size_and_dtype(size, dtype, generator):
    image = torch.rand(2, 3, *size, generator=generator).to(dtype)
    disp = 3 * torch.rand(2, *size, generator=generator).to(dtype)
    found = propagated(image, image, disp)
    assert found.shape == disp.shape
    assert found.dtype == dtype
    assert found.isfinite().all()


def test_median_is_that_of_the_nine_pixels(generator):
    disp = torch.rand(2, 1, 6, 8, generator=generator)
    padded = torch.nn.functional.pad(disp, (1, 1, 1, 1), mode="replicate")
    nine = torch.nn.functional.unfold(padded, 3).view(2, 9, 6, 8)
    torch.testing.assert_close(_median(disp)[:, 0], nine.median(1).values)


def looped(left, right, disp):
    return one_round(left, right, disp, MOVES, WINDOW, GAIN, STEP_PX)


def round_of(generator, size, B=2, spread=1.5):
    """What `seen` gives of two random images, and disparities that lie partly outside of them."""
    left, right = (seen(torch.rand(B, 3, *size, generator=generator)) for _ in range(2))
    disp = spread * size[1] * torch.rand(B, 1, *size, generator=generator) - size[1] / 4
    return left, right, disp


@pytest.mark.parametrize("size", [(70, 13), (1, 13), (7, 1), (1, 1), (2, 2), (33, 40)])
def test_the_loop_gives_what_the_operators_give(size, generator):
    left, right, disp = round_of(generator, size)
    found, want = looped(left, right, disp), round_of_operators(left, right, disp)
    # where two neighbours explain a pixel alike, rounding chooses
    assert (found != want).float().mean() < 0.005
    if min(size) > 2:
        assert (found != disp).float().mean() > 0.02


def test_the_loop_does_not_depend_on_threads_or_views(generator, monkeypatch):
    left, right, disp = round_of(generator, (150, 30))
    want = looped(left, right, disp)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    strided = torch.stack([disp, disp], -1)[..., 0]
    views = (x.to(memory_format=torch.channels_last) for x in (left, right))
    assert torch.equal(looped(*views, strided), want)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_no_disparity_makes_the_loop_read_outside_of_the_image(wrong, generator):
    left, right, disp = round_of(generator, (9, 11))
    disp[:, :, 3:6, 4:8] = wrong
    found = looped(left, right, disp)
    assert torch.isfinite(found[:, :, :3]).all()


def test_gradients_and_other_formats_go_through_the_operators(generator, monkeypatch):
    left, right, disp = (torch.rand(1, n, 8, 9, generator=generator) for n in (3, 3, 1))
    monkeypatch.setattr(propagation, "one_round", lambda *_: pytest.fail("operators are for this"))
    wanted = disp[:, 0].clone().requires_grad_()
    propagated(left, right, wanted).sum().backward()
    assert wanted.grad.sum() == pytest.approx(72)
    propagated(left.double(), right.double(), disp[:, 0].double())
    with torch.inference_mode():
        assert plain(disp)
        with pytest.raises(pytest.fail.Exception):
            propagated(left, right, disp[:, 0])
