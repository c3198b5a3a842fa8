from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from matching.polish import DEFAULTS, PolishSettings, polished

pytestmark = pytest.mark.once

SIZE = 200, 240


def texture(points, shortest_px=9.0, seed=0):
    """Grey in [0, 1] of a smooth random texture at points (..., 2): waves, so it is known between pixels too."""
    rng = np.random.default_rng(seed)
    lengths = shortest_px * rng.uniform(1, 6, 40)
    angles, phases = rng.uniform(0, 2 * np.pi, (2, 40))
    waves = 2 * np.pi / lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return (0.5 + 0.05 * np.cos(points @ waves.T + phases).sum(-1)).astype(np.float32)


def image(to_texture, shift, size=SIZE, **options):
    y, x = np.mgrid[: size[0], : size[1]]
    return texture(np.stack([x, y], -1) @ to_texture.T + shift, **options)


def turn(angle_deg, zoom=1.0):
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return zoom * np.array([[c, -s], [s, c]])


def pair(A, noise_px=0.4, shortest_px=9.0):
    """Both images, matches that are off, and where the points of image 1 truly are; x1 = A x0 + b."""
    middle = np.array([SIZE[1] - 1, SIZE[0] - 1]) / 2
    b = middle - A @ middle + [0.3, -0.2]
    back = np.linalg.inv(A)
    grey0, grey1 = (
        image(np.eye(2), 0, shortest_px=shortest_px),
        image(back, -back @ b, shortest_px=shortest_px),
    )
    rng = np.random.default_rng(3)
    kpts0 = rng.uniform(0, 1, (4000, 2)) * [SIZE[1] - 1, SIZE[0] - 1]
    truth = kpts0 @ A.T + b
    kpts1 = truth + noise_px * rng.standard_normal(truth.shape)
    good = ((kpts1 >= 0) & (kpts1 <= 2 * middle)).all(1)
    good &= np.cumsum(good) <= 600
    return grey0, grey1, kpts0[good].astype(np.float32), kpts1[good].astype(np.float32), truth[good]


def errors(kpts1, truth):
    return np.linalg.norm(kpts1 - truth, axis=1)


@pytest.mark.parametrize("angle_deg", [0, 35, 90, 180, -117])
def test_turned_images_are_aligned_to_hundredths_of_a_pixel(angle_deg):
    grey0, grey1, kpts0, kpts1, truth = pair(turn(angle_deg))
    before, after = errors(kpts1, truth), errors(polished(kpts0, kpts1, grey0, grey1), truth)
    assert np.median(before) > 0.3
    assert np.median(after) < 0.06
    assert np.quantile(after, 0.9) < 0.2


@pytest.mark.parametrize("zoom", [0.35, 0.6, 1.6, 2.8])
def test_zoomed_images_are_aligned(zoom):
    # the noise is that of the coarser image's pixels, and the texture lasts through its blur
    coarse_px = max(1, 1 / zoom)
    given = pair(turn(10, zoom), 0.4 * max(1, zoom), 9 * coarse_px)
    grey0, grey1, kpts0, kpts1, truth = given
    after = errors(polished(kpts0, kpts1, grey0, grey1), truth) / max(1, zoom)
    assert np.median(errors(kpts1, truth)) / max(1, zoom) > 0.3
    assert np.median(after) < 0.08


@pytest.mark.parametrize("blurred", [0, 1])
def test_an_image_out_of_focus_still_helps(blurred):
    *greys, kpts0, kpts1, truth = pair(turn(5), shortest_px=5)
    greys[blurred] = cv2.GaussianBlur(greys[blurred], (0, 0), 2.5)
    after = errors(polished(kpts0, kpts1, *greys), truth)
    assert np.median(after) < 0.15


def test_contrast_and_brightness_do_not_matter():
    grey0, grey1, kpts0, kpts1, truth = pair(turn(0))
    after = polished(kpts0, kpts1, grey0, 0.2 + 0.5 * grey1)
    assert np.median(errors(after, truth)) < 0.06


def test_edges_move_points_across_but_not_along():
    _, x = np.mgrid[:120, :120]
    edge = (1 / (1 + np.exp(-(x - 60) / 2))).astype(np.float32)
    kpts0 = np.stack([np.full(21, 60), np.arange(40, 82, 2)], 1).astype(np.float32)
    kpts0[::2, 0] += 2
    found = polished(kpts0, kpts0 + np.float32([0.5, 0.5]), edge, edge)
    np.testing.assert_allclose(found - kpts0, np.tile([0, 0.5], (21, 1)), atol=0.05)


def test_too_few_matches_to_tell_the_turn_stay():
    grey0, grey1, kpts0, kpts1, _ = pair(turn(0))
    np.testing.assert_array_equal(polished(kpts0[:4], kpts1[:4], grey0, grey1), kpts1[:4])


def test_plain_images_move_nothing():
    grey0, _, kpts0, kpts1, _ = pair(turn(0))
    flat = np.full(SIZE, 0.3, np.float32)
    np.testing.assert_array_equal(polished(kpts0, kpts1, grey0, flat), kpts1)
    np.testing.assert_array_equal(polished(kpts0, kpts1, flat, grey0), kpts1)
    np.testing.assert_array_equal(polished(kpts0, kpts1, flat, flat), kpts1)


def test_unrelated_images_move_next_to_nothing():
    grey0, _, kpts0, kpts1, _ = pair(turn(0))
    other = np.random.default_rng(7).random(SIZE, np.float32)
    # blobs of noise may look like a texture by chance
    assert (polished(kpts0, kpts1, grey0, other) != kpts1).any(1).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 90), (17, 18), (40, 33)])
@pytest.mark.parametrize("N", [0, 1, 2, 7, 65, 300])
def test_any_size_gives_points_inside(size, N):
    rng = np.random.default_rng(N)
    grey0, grey1 = rng.random((2, *size), np.float32)
    last = np.array([size[1] - 1, size[0] - 1])
    kpts0, kpts1 = (rng.uniform(0, 1, (2, N, 2)) * last).astype(np.float32)
    kpts1[: N // 3] = np.round(kpts1[: N // 3] / np.maximum(last, 1)) * last  # corners
    found = polished(kpts0, kpts1, grey0, grey1)
    assert found.dtype == np.float32
    assert found.shape == (N, 2)
    assert ((found >= 0) & (found <= last)).all()


def test_points_at_the_border_do_not_leave_the_image():
    grey0, grey1, *_ = pair(turn(0))
    last = np.array([SIZE[1] - 1, SIZE[0] - 1])
    along = np.linspace(0, 1, 100)[:, None] * last
    kpts = np.concatenate(
        [along * [1, 0], along * [0, 1], last - along * [1, 0], last - along * [0, 1]]
    )
    for shift in ([0.0, 0], [0.7, 0.7], [-0.7, -0.7]):
        kpts1 = np.clip(kpts + shift, 0, last).astype(np.float32)
        found = polished(kpts.astype(np.float32), kpts1, grey0, grey1)
        assert ((found >= 0) & (found <= last)).all()


def test_points_outside_or_not_a_number_stay_and_disturb_nobody():
    grey0, grey1, kpts0, kpts1, _ = pair(turn(0))
    want = polished(kpts0, kpts1, grey0, grey1)
    odd = np.float32([[np.nan, 5], [-3, 5], [1e9, 5], [np.inf, 5]])
    fine = np.full((4, 2), 20, np.float32)
    for left, right in ((odd, fine), (fine, odd)):
        found = polished(np.vstack([kpts0, left]), np.vstack([kpts1, right]), grey0, grey1)
        np.testing.assert_array_equal(found[:-4], want)
        np.testing.assert_array_equal(found[-4:], right)


def test_pixels_that_are_not_a_number_do_no_harm():
    grey0, grey1, kpts0, kpts1, _ = pair(turn(0))
    grey1[50:60, 50:60] = np.nan
    assert np.isfinite(polished(kpts0, kpts1, grey0, grey1)).all()


def test_no_point_moves_under_a_mask_and_what_it_hides_does_not_count():
    grey0, grey1, kpts0, kpts1, truth = pair(turn(0))
    mask = np.ones(SIZE, bool)
    mask[:, 100:140] = False
    hidden = np.where(mask, grey1, 0.5).astype(np.float32)
    found = polished(kpts0, kpts1, grey0, hidden, masks=(None, mask))
    moved = (found != kpts1).any(1)
    assert not ((found[moved, 0] > 99) & (found[moved, 0] < 140)).any()
    near = (abs(kpts1[:, 0] - 119.5) < 28) & moved
    assert near.sum() > 20
    # with the mask unknown its edge takes part
    unknown = polished(kpts0, kpts1, grey0, hidden)
    assert np.median(errors(found, truth)[near]) < 0.06
    assert np.median(errors(found, truth)[near]) < 0.7 * np.median(errors(unknown, truth)[near])


def test_a_mask_of_nothing_moves_nothing():
    grey0, grey1, kpts0, kpts1, _ = pair(turn(0))
    found = polished(kpts0, kpts1, grey0, grey1, masks=(np.zeros(SIZE, bool), None))
    np.testing.assert_array_equal(found, kpts1)


def test_threads_and_memory_order_do_not_change_a_bit(monkeypatch):
    grey0, grey1, kpts0, kpts1, _ = pair(turn(12, 1.2))
    want = polished(kpts0, kpts1, grey0, grey1)
    assert (want != kpts1).any()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    order = np.asfortranarray
    np.testing.assert_array_equal(
        polished(order(kpts0), order(kpts1), order(grey0), order(grey1)), want
    )


def test_arguments_are_left_alone():
    given = pair(turn(0))[:4]
    copies = [each.copy() for each in given]
    grey0, grey1, kpts0, kpts1 = given
    polished(kpts0, kpts1, grey0, grey1)
    for each, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(each, copy)


def test_a_match_that_would_go_too_far_stays():
    grey0, grey1, kpts0, kpts1, _ = pair(turn(0), noise_px=0)
    settings = replace(DEFAULTS, farthest=0.3)
    off = kpts1 + np.float32([0.6, 0])
    stays = polished(kpts0, off, grey0, grey1, settings=settings)
    assert (stays == off).all(1).mean() > 0.95
    assert (polished(kpts0, off, grey0, grey1) != off).any(1).mean() > 0.7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kpts0": np.zeros((2, 2), np.float32)}, "one row per match"),
        ({"kpts1": np.zeros((3, 3), np.float32)}, r"must be \(N, 2\)"),
        ({"grey0": np.zeros((3, 4, 3), np.float32)}, r"grey0 must be \(H, W\)"),
        ({"grey1": np.zeros((0, 4), np.float32)}, "with a pixel or more"),
        ({"masks": (None, np.ones((2, 2), bool))}, "mask 1 must have the shape"),
    ],
)
def test_wrong_shapes_are_refused(wrong, words):
    points, grey = np.zeros((3, 2), np.float32), np.zeros((9, 9), np.float32)
    given = {"kpts0": points, "kpts1": points, "grey0": grey, "grey1": grey} | wrong
    with pytest.raises(ValueError, match=words):
        polished(**given)


@pytest.mark.parametrize(
    "wrong",
    [{"radius": 0}, {"blur": 0.0}, {"rounds": -1}, {"longest_step": 0.5}, {"window": np.inf}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PolishSettings(**wrong)
