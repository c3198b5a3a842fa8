import cv2
import numpy as np
import pytest
import torch

from data_scripts.attempts import FailedPair
from stereo.options import StereoOptions
from stereo.predictor import StereoPredictor, load_predictor
from tests.stereo.block_matcher import BlockMatcher

SHIFT = 7
SCENE = np.random.default_rng(0).integers(0, 256, (90, 217, 3), dtype=np.uint8)
LEFT, RIGHT = SCENE[:, :-SHIFT], SCENE[:, SHIFT:]  # left pixel x is right pixel x - 7
# Two textures that survive being halved.
COARSE = np.repeat(np.repeat(SCENE, 2, 0), 2, 1)
COARSE_LEFT, COARSE_RIGHT = COARSE[:, : -2 * SHIFT], COARSE[:, 2 * SHIFT :]


def predictor(**options):
    return load_predictor(BlockMatcher(), dtype=torch.float32, **options)


def fields(found):
    return found.disparity, found.occlusion, found.confidence


def same(found, want):
    return all(np.array_equal(a, b) for a, b in zip(fields(found), fields(want), strict=True))


def test_a_shift_is_found_and_what_leaves_the_image_is_occluded():
    found = predictor().predict(LEFT, RIGHT)
    for values in fields(found):
        assert values.shape == LEFT.shape[:2]
        assert values.dtype == np.float32
    inside = (slice(None), slice(SHIFT + 2, -2))  # windows at the right end see the padding
    assert (found.disparity[inside] == SHIFT).all()
    assert (found.confidence[inside] == 1).all()
    assert found.size == LEFT.shape[:2]


@pytest.mark.parametrize(("smallest", "seen"), [(1, (96, 224)), (128, (128, 224))])
def test_sides_become_what_the_network_wants_by_repeating_the_edge(smallest, seen):
    network = BlockMatcher(size_multiple=32)
    network.min_side = smallest
    images = []
    network.register_forward_pre_hook(lambda _, pair: images.extend(pair))
    ask = StereoPredictor(network, dtype=torch.float32)
    found = ask.predict(LEFT, RIGHT)
    assert ask._network.sizes == [seen]
    assert torch.equal(images[1][..., 209:], images[1][..., 209:210].expand(-1, -1, -1, 15))
    assert torch.equal(
        images[0][..., 89:, :], images[0][..., 89:90, :].expand_as(images[0][..., 89:, :])
    )
    assert found.size == LEFT.shape[:2]
    assert same(found, predictor().predict(LEFT, RIGHT))


def test_half_the_size_gives_the_same_disparity_in_pixels_as_given():
    long_side = COARSE_LEFT.shape[1] // 2
    full = predictor().predict(COARSE_LEFT, COARSE_RIGHT)
    half = predictor(long_side=long_side).predict(COARSE_LEFT, COARSE_RIGHT)
    assert half.size == full.size
    inside = (slice(4, -4), slice(2 * SHIFT + 8, -4))
    np.testing.assert_array_equal(full.disparity[inside], 2 * SHIFT)
    np.testing.assert_allclose(half.disparity[inside], 2 * SHIFT, rtol=1e-6)


def test_an_uneven_ratio_scales_by_the_widths():
    # 101 px wide shrunk to 50: a disparity of 3 network pixels is 3 * 101 / 50 of the image.
    scene = np.repeat(np.repeat(SCENE[:20, :50, :], 2, 0), 2, 1)
    scene = np.concatenate([scene, scene[:, -1:]], 1)  # 101 px wide
    shrunk = StereoPredictor(BlockMatcher(), options=StereoOptions(long_side=50))
    left, right = scene, np.roll(scene, -6, 1)
    found = shrunk.predict(left, right).disparity[8:-8, 30:-20]
    assert np.median(found) == pytest.approx(3 * 101 / 50)


def test_images_are_never_enlarged():
    network = BlockMatcher()
    ask = StereoPredictor(network, options=StereoOptions(long_side=5000))
    ask.predict(LEFT, RIGHT)
    assert ask._network.sizes == [(96, 216)]
    assert not network.sizes  # the caller's network is not the one that runs


@pytest.mark.parametrize("tile", [(64, 128), (64, 5000), (5000, 128)])
def test_pieces_give_what_the_whole_gives(tile):
    whole = predictor().predict(LEFT, RIGHT)
    cut = predictor(tile=tile).predict(LEFT, RIGHT)
    for got, want in zip(fields(cut), fields(whole), strict=True):
        np.testing.assert_allclose(got[:, SHIFT + 2 : -2], want[:, SHIFT + 2 : -2], atol=1e-5)


def test_less_memory_means_smaller_pieces_and_the_same_answer():
    ask = predictor(max_memory=0.01)
    found = ask.predict(LEFT, RIGHT)
    assert len(ask._network.sizes) > 1
    assert max(ask._network.sizes)[0] < 96
    whole = predictor().predict(LEFT, RIGHT)
    np.testing.assert_allclose(found.disparity[:, 9:], whole.disparity[:, 9:], atol=1e-5)


def test_too_little_memory_says_how_much_is_wanted():
    with pytest.raises(ValueError, match=r"max_memory must be 0\.\d\d gibibytes or more for 210"):
        predictor(max_memory=1e-6).predict(LEFT, RIGHT)


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: torch.from_numpy(image.copy()).permute(2, 0, 1),
        lambda image: image.astype(np.float64) / 255,
        lambda image: np.dstack([image, image[..., 0]]),
        lambda image: image.astype(np.uint16) * 257,
    ],
)
def test_every_form_of_an_image_gives_the_same(convert):
    want = predictor().predict(LEFT, RIGHT)
    found = predictor().predict(convert(LEFT), convert(RIGHT))
    np.testing.assert_array_equal(found.disparity, want.disparity)
    np.testing.assert_allclose(found.confidence, want.confidence, atol=1e-6)


def test_grey_is_colour_with_three_equal_channels():
    grey = [np.ascontiguousarray(image[..., 0]) for image in (LEFT, RIGHT)]
    want = predictor().predict(*(np.repeat(image[..., None], 3, 2) for image in grey))
    assert same(predictor().predict(*grey), want)
    assert same(predictor().predict(*(image[..., None] for image in grey)), want)


def test_paths_are_read(tmp_path):
    for name, image in (("left", LEFT), ("right", RIGHT)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
    found = predictor().predict(tmp_path / "left.png", str(tmp_path / "right.png"))
    assert same(found, predictor().predict(LEFT, RIGHT))


def test_a_dark_eye_of_sixteen_bits_is_judged_by_the_scale_of_the_brighter_one():
    seen = []
    network = BlockMatcher()
    network.register_forward_pre_hook(lambda _, images: seen.extend(images))
    ask = StereoPredictor(network)
    dark = np.full((8, 8), 200, np.uint16)  # alone it would pass for 8 bits
    ask.predict(dark, np.full((8, 8), 4000, np.uint16))
    assert float(seen[0].max()) == pytest.approx(200 / 4095)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (
            LEFT,
            RIGHT[:, 1:],
            r"left and right must have the same size, got \(90, 210\) and \(90, 209",
        ),
        (LEFT[0, 0], RIGHT, r"left must be \(H, W\)"),
        (LEFT, np.full((90, 210), np.nan), "right must be finite"),
        (LEFT, RIGHT.astype(np.float32), r"right as float must lie in \[0, 1\]"),
    ],
)
def test_pairs_that_cannot_be_are_refused(left, right, message):
    with pytest.raises(ValueError, match=message):
        predictor().predict(left, right)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_side": 0}, "long_side must be 1 px or more"),
        ({"tile": (64, 63)}, "tile must be rows and columns of 64 px or more"),
        ({"max_memory": 0}, "max_memory must be more than 0"),
        ({"max_memory": float("nan")}, "max_memory must be more than 0"),
        ({"dtype": torch.float16}, r"dtype must be torch.float32 or torch.bfloat16"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_predictor(BlockMatcher(), **options)


def test_weights_that_are_not_there_are_told_by_name():
    with pytest.raises(FileNotFoundError, match="huge: no such weights"):
        load_predictor("huge")


def test_many_pairs_are_single_calls_in_their_order():
    small = LEFT[:40, :50], RIGHT[:40, :50]
    pairs = [(LEFT, RIGHT), small, (RIGHT, LEFT), (LEFT, RIGHT)]
    found = list(predictor().predict_many(iter(pairs)))
    assert all(same(f, predictor().predict(*pair)) for f, pair in zip(found, pairs, strict=True))


def test_a_bad_pair_stops_or_is_recorded(tmp_path):
    missing = tmp_path / "missing.png"
    pairs = [(LEFT, RIGHT), (LEFT, missing), (LEFT,), (LEFT, RIGHT)]
    with pytest.raises(FileNotFoundError):
        list(predictor().predict_many(pairs))
    found = list(predictor().predict_many(pairs, on_error="record"))
    assert [isinstance(each, FailedPair) for each in found] == [False, True, True, False]
    assert found[1] == FailedPair(f"{missing}: no such image file; check the path")
    with pytest.raises(ValueError, match="on_error must be"):
        predictor().predict_many(pairs, on_error="ignore")


def test_pairs_are_read_one_by_one():
    def endless():
        while True:
            yield LEFT, RIGHT

    assert next(predictor().predict_many(endless())).size == LEFT.shape[:2]


class Asked(BlockMatcher):
    """Says what it was asked for."""

    takes_semi_global = True

    def forward(self, left, right, semi_global=None):
        self.asked = semi_global
        return super().forward(left, right)


def test_semi_global_is_asked_for_unless_told_otherwise():
    asking = load_predictor(Asked(), dtype=torch.float32)
    for options, want in (({}, True), ({"semi_global": False}, False)):
        asking.predict(LEFT, RIGHT, **options)
        assert asking._network.asked is want


def test_the_network_alone_differs_only_where_it_is_not_sure():
    network = load_predictor("small", dtype=torch.float32)
    # Other noise in each image, so that the network is not sure everywhere.
    noise = np.random.default_rng(1)
    left, right = (
        (view[:, :160] + noise.normal(0, 30, (90, 160, 3))).clip(0, 255).astype(np.uint8)
        for view in (LEFT, RIGHT)
    )
    with_it = network.predict(left, right)
    alone = network.predict(left, right, semi_global=False)
    assert np.array_equal(with_it.confidence, alone.confidence)
    assert np.array_equal(with_it.occlusion, alone.occlusion)
    differs = with_it.disparity != alone.disparity
    assert 0 < differs.mean() < 0.5
