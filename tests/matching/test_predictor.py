import cv2
import numpy as np
import pytest
import torch

from data_scripts.attempts import FailedPair
from matching.predictor import MatchPredictor, load_predictor
from tests.matching.patch_matcher import PatchMatcher

SCENE = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
SHIFT = (16, 24)  # px, x and y, between LEFT and RIGHT
LEFT, RIGHT = SCENE[24:134, 16:190], SCENE[:120, :170]  # left (x, y) is right (x + 16, y + 24)


def predictor(**settings):
    return MatchPredictor(PatchMatcher(), **settings)


def rows(matches):
    """Matches as a sorted list of rows, so that sets can be compared to the last bit."""
    columns = (matches.kpts0, matches.kpts1, matches.confidence[:, None])
    return sorted(map(tuple, np.concatenate(columns, 1).tolist()))


def swapped_rows(matches):
    return sorted((*row[2:4], *row[:2], row[4]) for row in rows(matches))


def test_a_shift_is_found_in_pixels_of_the_images_as_given():
    matches = predictor().match(LEFT, RIGHT)
    # The images share 154 x 96 px: 19 x 12 whole cells of both grids.
    assert len(matches) == 19 * 12
    np.testing.assert_array_equal(matches.kpts1 - matches.kpts0, np.tile(SHIFT, (len(matches), 1)))
    assert matches.kpts0.dtype == matches.kpts1.dtype == matches.confidence.dtype == np.float32
    assert np.all(np.diff(matches.confidence) <= 0)


def test_shrinking_scales_the_points_of_each_image_by_its_own_factor():
    # Nearest-neighbour copies shrink back to the very image: points of it are known.
    large = np.repeat(np.repeat(LEFT, 2, 0), 3, 1)  # 220 x 522; shrunk to 174 wide, 73 high
    small = cv2.resize(large.astype(np.float32) / 255, (174, 73), interpolation=cv2.INTER_AREA)
    matches = predictor(long_side=174).match(large, small)
    assert len(matches) == 21 * 9  # whole cells of 174 x 73
    want = (matches.kpts1 + 0.5) * (522 / 174, 220 / 73) - 0.5
    np.testing.assert_allclose(matches.kpts0, want, atol=1e-4)


def test_paths_arrays_and_tensors_give_the_same_matches(tmp_path):
    cv2.imwrite(str(tmp_path / "left.png"), LEFT[..., ::-1])
    want = rows(predictor().match(LEFT, RIGHT))
    tensor = torch.from_numpy(RIGHT.copy()).permute(2, 0, 1)
    assert rows(predictor().match(tmp_path / "left.png", tensor)) == want
    assert rows(predictor().match(str(tmp_path / "left.png"), RIGHT)) == want


def test_limits_keep_the_best():
    noisy = np.clip(RIGHT + np.random.default_rng(1).normal(0, 20, RIGHT.shape), 0, 255)
    noisy = noisy.astype(np.uint8)
    every = predictor().match(LEFT, noisy)
    few = predictor().match(LEFT, noisy, max_matches=7)
    np.testing.assert_array_equal(few.kpts0, every.kpts0[:7])
    np.testing.assert_array_equal(few.kpts1, every.kpts1[:7])
    middle = float(every.confidence[len(every) // 2])
    kept = predictor().match(LEFT, noisy, min_confidence=middle)
    assert len(kept) == (every.confidence >= middle).sum() < len(every)


def test_zero_matches_are_empty_arrays():
    nothing = predictor().match(np.zeros((50, 60), np.uint8), LEFT)
    assert nothing.kpts0.shape == nothing.kpts1.shape == (0, 2)
    assert nothing.confidence.shape == (0,)
    assert nothing.kpts0.dtype == nothing.confidence.dtype == np.float32
    assert len(predictor().match(LEFT, RIGHT, max_matches=0)) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 3), (15, 17)])
def test_images_below_the_smallest_that_the_network_takes_are_padded(size):
    tiny = LEFT[: size[0], : size[1]]
    matches = predictor().match(tiny, LEFT)
    assert len(matches) == (size[0] // 8) * (size[1] // 8)
    assert (matches.kpts0 <= (size[1] - 1, size[0] - 1)).all()


@pytest.mark.parametrize("masks", [np.ones((127, 191), bool), (None,), None])
def test_masks_that_are_no_pair_are_told(masks):
    with pytest.raises(TypeError, match=r"masks must be \(mask0, mask1\)"):
        predictor().match(LEFT, RIGHT, masks=masks)


def test_no_match_lies_under_a_mask_whichever_side_has_it():
    mask = np.ones(LEFT.shape[:2], bool)
    mask[30:70, 40:101] = False
    ahead = predictor().match(LEFT, RIGHT, masks=(mask, None))
    back = predictor().match(RIGHT, LEFT, masks=(None, torch.from_numpy(mask)))
    assert 0 < len(ahead) < 19 * 12
    assert rows(ahead) == swapped_rows(back)
    x, y = ahead.kpts0.T
    for i, j in [(np.floor(y), np.floor(x)), (np.ceil(y), np.ceil(x))]:
        assert mask[i.astype(int), j.astype(int)].all()


def test_what_lies_under_a_mask_changes_nothing():
    mask = np.ones(LEFT.shape[:2], bool)
    mask[30:70, 40:101] = False
    garbage = np.where(mask[..., None], LEFT, 255 - LEFT)
    want = predictor(long_side=160).match(LEFT, RIGHT, masks=(mask, None))
    assert rows(predictor(long_side=160).match(garbage, RIGHT, masks=(mask, None))) == rows(want)


def test_an_image_masked_altogether_matches_nothing():
    assert len(predictor().match(LEFT, RIGHT, masks=(np.zeros(LEFT.shape[:2], bool), None))) == 0


@pytest.mark.parametrize("rotations", [(0,), (0, 90), (0, 90, 180, 270)])
@pytest.mark.parametrize("turned", [0, 1, 2])
def test_symmetric_matching_does_not_know_which_image_comes_first(rotations, turned):
    right = np.rot90(RIGHT, turned)
    ask = predictor(long_side=150).match
    ahead = ask(LEFT, right, symmetric=True, rotations=rotations, max_matches=40)
    back = ask(right, LEFT, symmetric=True, rotations=rotations, max_matches=40)
    assert rows(ahead) == swapped_rows(back)


def test_symmetric_matching_of_an_image_with_itself_is_its_own_mirror():
    matches = predictor().match(LEFT, LEFT, symmetric=True)
    assert len(matches) > 0
    assert rows(matches) == swapped_rows(matches)


@pytest.mark.once
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_shipped_network_does_not_know_either_in_any_number_format(dtype):
    small = load_predictor("small", dtype=dtype)
    ahead = small.match(LEFT, RIGHT, symmetric=True, rotations=(0, 90))
    assert len(ahead) > 20
    back = small.match(RIGHT, LEFT, symmetric=True, rotations=(0, 90))
    assert rows(ahead) == swapped_rows(back)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_turned_image_is_matched_and_its_points_are_those_of_the_turned_image(turns, symmetric):
    right = np.ascontiguousarray(np.rot90(RIGHT, turns))
    straight = predictor().match(LEFT, RIGHT)
    matches = predictor().match(LEFT, right, rotations=(0, 90, 180, 270), symmetric=symmetric)
    # Only whole cells of the turned-back image match: all sides are multiples of 2 but not of 8.
    assert len(matches) == len(straight)
    height, width = right.shape[:2]
    x, y = matches.kpts1.T
    back = [(x, y), (height - 1 - y, x), (width - 1 - x, height - 1 - y), (y, width - 1 - x)][turns]
    np.testing.assert_allclose(np.stack(back, 1) - matches.kpts0, np.tile(SHIFT, (len(x), 1)))


def test_kept_features_stand_in_for_images():
    ask = predictor()
    want = rows(ask.match(LEFT, RIGHT))
    left, right = ask.extract(LEFT), ask.extract(RIGHT, rotations=(0, 90))
    assert left.size == (110, 174)
    assert rows(ask.match(left, right)) == rows(ask.match(left, RIGHT)) == want
    assert rows(ask.match(left, right, rotations=(0, 90, 180), symmetric=True)) == rows(
        ask.match(LEFT, RIGHT, rotations=(0, 90, 180), symmetric=True)
    )


def test_kept_features_carry_their_mask_and_belong_to_their_predictor():
    ask = predictor()
    mask = np.ones(LEFT.shape[:2], bool)
    mask[:60] = False
    kept = ask.extract(LEFT, mask)
    assert rows(ask.match(kept, RIGHT)) == rows(ask.match(LEFT, RIGHT, masks=(mask, None)))
    with pytest.raises(ValueError, match="another predictor"):
        predictor().match(kept, RIGHT)
    with pytest.raises(ValueError, match="give its mask to extract"):
        ask.match(kept, RIGHT, masks=(mask, None))


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"symmetric": True, "rotations": (0, 90)}])
def test_many_pairs_of_mixed_sizes_equal_single_calls_in_their_order(batch_size, options):
    ask = predictor()
    mask = np.ones(LEFT.shape[:2], bool)
    mask[:40] = False
    pairs = [
        (LEFT, RIGHT),
        (RIGHT, LEFT),
        (LEFT[:96, :160], RIGHT),
        (LEFT[:, ::-1], RIGHT),
        (LEFT, RIGHT, mask, None),
        (ask.extract(LEFT), RIGHT),
        (LEFT[:100, :170], RIGHT),  # pads to the same size as the first
    ]
    found = list(ask.match_many(iter(pairs), batch_size=batch_size, **options))
    for pair, many in zip(pairs, found, strict=True):
        single = ask.match(*pair[:2], masks=tuple(pair[2:]) or (None, None), **options)
        np.testing.assert_allclose(rows(many), rows(single), atol=1e-6)


def test_a_bad_pair_is_recorded_and_the_others_go_on(tmp_path):
    pairs = [(LEFT, RIGHT), (tmp_path / "missing.png", RIGHT), (LEFT,), (RIGHT, LEFT)]
    found = list(predictor().match_many(pairs, batch_size=3, on_error="record"))
    assert [isinstance(each, FailedPair) for each in found] == [False, True, True, False]
    assert found[1] == FailedPair(f"{tmp_path / 'missing.png'}: no such image file; check the path")
    with pytest.raises(FileNotFoundError):
        list(predictor().match_many(pairs))


def test_pairs_are_read_as_they_are_needed():
    def endless():
        while True:
            yield LEFT, RIGHT

    stream = predictor().match_many(endless())
    assert len(next(stream)) == len(next(stream)) == 19 * 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_matches": -1}, "max_matches"),
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"min_confidence": float("nan")}, "min_confidence"),
        ({"rotations": (45,)}, "rotations"),
        ({"rotations": ()}, "rotations"),
        ({"rotations": (0, 0)}, "rotations"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        predictor().match(LEFT, RIGHT, **options)
    with pytest.raises(ValueError, match=words):
        predictor().match_many([(LEFT, RIGHT)], **options)


@pytest.mark.parametrize(
    "settings",
    [{"long_side": 0}, {"dtype": torch.float16}, {"device": "abacus"}, {"device": "cuda:77"}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} "):
        predictor(**settings)


def test_weights_that_are_nowhere_are_named_with_those_that_are_shipped():
    with pytest.raises(
        FileNotFoundError, match=r"enormous: no such weights; give a checkpoint file"
    ):
        load_predictor("enormous")


def test_predicting_leaves_torch_and_the_matcher_as_they_were():
    matcher = PatchMatcher().train()
    before = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    load_predictor(matcher, dtype=torch.float32).match(LEFT, RIGHT)
    after = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    assert before == after
    assert matcher.training


def test_an_outer_autocast_does_not_change_the_number_format():
    ask = predictor(dtype=torch.float32)
    want = rows(ask.match(LEFT, RIGHT))
    with torch.autocast("cpu", torch.bfloat16):
        assert rows(ask.match(LEFT, RIGHT)) == want


def test_black_frames_are_masked_unless_told_otherwise():
    image = np.random.default_rng(3).uniform(0.3, 1, (96, 128)).astype(np.float32)
    image[:5] = 0
    assert predictor(ignore_frames=False).extract(image).image.mask is None
    mask = predictor().extract(image).image.mask
    assert not mask[:5].any()
    assert mask[6:].all()
