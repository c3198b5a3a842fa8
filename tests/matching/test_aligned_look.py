import cv2
import numpy as np
import pytest

from matching import load_predictor
from matching.aligned_look import GUESSES, Arrangement, aligned, guessed
from matching.matches import Matches
from matching.resize import prepare
from matching.sift import Keypoints
from matching.similarity import SAME, turned_whole
from tests.matching.test_similarity import of


def texture(height, width, seed=0):
    """Blobs of many sizes, uint8: something to hold on to everywhere."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), s) * s for s in (1, 3, 8)]
    total = sum(layers)
    return cv2.normalize(total, None, 0, 255, cv2.NORM_MINMAX).round().astype(np.uint8)


def prepared(image, mask=None, long_side=None):
    return prepare(image.astype(np.float32) / 255, mask, long_side)


def moved(image, lie, height, width):
    """What a camera sees to which `image` lies as `lie` says; smooth where it gets smaller."""
    if lie.zoom < 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 / lie.zoom)
    return cv2.warpAffine(image, lie.matrix, (width, height), flags=cv2.INTER_LINEAR)


def matches(kpts0, kpts1):
    ends = (np.asarray(kpts, np.float32).reshape(-1, 2) for kpts in (kpts0, kpts1))
    return Matches(*ends, np.ones(len(kpts0), np.float32))


@pytest.mark.parametrize(("zoom", "frame"), [(0.5, 0), (1.0, 0), (2.0, 1)])
def test_the_coarser_image_is_laid_onto_the_finer(zoom, frame):
    images = prepared(texture(80, 120)), prepared(texture(96, 112, 1))
    lie = of(zoom, 30, (20, 5) if zoom < 2 else (-20, -70))
    pair = aligned(*images, lie)
    assert pair.image0.grey.shape == pair.image1.grey.shape == images[frame].grey.shape
    stays = (pair.image0, pair.image1)[frame]
    np.testing.assert_array_equal(stays.grey, images[frame].grey)
    points = np.array([[60.0, 40.0], [50.0, 44.0]])  # of image 0
    here = points if frame == 0 else lie(points)
    back = pair.as_given(matches(here, here))
    np.testing.assert_allclose(back.kpts0, points, atol=1e-4)
    np.testing.assert_allclose(back.kpts1, lie(points), atol=1e-4)


def test_points_go_back_to_images_that_were_shrunk():
    images = prepared(texture(200, 300), None, 150), prepared(texture(160, 160, 1), None, 80)
    pair = aligned(*images, of(1, 0, (5, 3)))
    back = pair.as_given(matches([[10, 20]], [[10, 20]]))
    np.testing.assert_allclose(back.kpts0, [[20.5, 40.5]], atol=1e-4)
    np.testing.assert_allclose(back.kpts1, [[30.5, 46.5]], atol=1e-4)


def test_what_leaves_an_image_or_lies_under_its_mask_is_dropped():
    mask = np.ones((80, 120), bool)
    mask[:, :60] = False
    images = prepared(texture(80, 120)), prepared(texture(80, 120), mask)
    pair = aligned(*images, of(1, 0, (50, 0)))
    frame = [[5.0, 40.0], [20.0, 40.0], [90.0, 40.0]]  # in image 1: under the mask, used, outside
    np.testing.assert_allclose(pair.as_given(matches(frame, frame)).kpts0, frame[1:2])
    assert not pair.image1.mask[:, :9].any()  # of 60 px, 50 lie outside the frame
    assert pair.image1.mask[:, 11:69].all()
    assert not pair.image1.mask[:, 71:].any()


def test_a_half_turn_lays_every_pixel_where_it_belongs():
    image = texture(48, 64)
    lie = of(1, 180, (63, 47))
    pair = aligned(prepared(image), prepared(image[::-1, ::-1]), lie)
    np.testing.assert_allclose(pair.image1.grey, image / np.float32(255), atol=1e-3)


def test_many_matches_that_agree_are_believed_and_few_are_not():
    image = texture(160, 200)
    sides = prepared(image), prepared(image)
    points = np.random.default_rng(0).uniform(0, 160, (300, 2))
    lie = of(0.5, 90, (100, 0))
    arrangement = Arrangement(*sides)
    assert arrangement.by(matches(points, lie(points))).is_near(lie, 1, 1.02)
    few = arrangement.by(matches(points[:50], lie(points[:50])))
    assert few.is_near(SAME, 1, 1.02)  # what SIFT sees in two equal images
    scattered = matches(points, np.random.default_rng(1).uniform(0, 160, (300, 2)))
    assert arrangement.by(scattered).is_near(SAME, 1, 1.02)


def test_without_matches_and_key_points_nothing_is_known():
    even = prepared(np.full((64, 64), 128, np.uint8))
    assert Arrangement(even, even).by(matches([], [])) is None


@pytest.mark.parametrize("guess", GUESSES)
def test_a_right_guess_shows_both_images_upright_and_at_one_size(guess):
    turn_deg, zoom = guess
    images = prepared(texture(500, 600), None, 550), prepared(texture(450, 620, 1))
    view = guessed(*images, turn_deg, zoom)
    steps = np.array([[-25.0, -10.0], [20.0, 15.0], [5.0, -25.0]])
    middles = (np.array(image.grey.shape[::-1]) / 2 for image in view.images)
    back = view.as_given(matches(*(middle + steps for middle in middles)))
    px0, px1 = 600 / (320 * min(zoom, 1)), 620 / (320 / max(zoom, 1))  # given pixels in a small one
    between = np.diff(steps, axis=0)
    turned = between @ of(1, turn_deg).matrix[:, :2].T
    np.testing.assert_allclose(np.diff(back.kpts0, axis=0), between * px0, atol=0.5)
    np.testing.assert_allclose(np.diff(back.kpts1, axis=0), turned * px1, atol=0.5)


def test_turning_a_whole_image_loses_no_corner():
    lay, (height, width) = turned_whole((40, 60), 30)
    corners = lay(np.array([[0, 0], [59, 0], [59, 39], [0, 39]]))
    assert corners.min() >= -0.5
    assert (corners.max(axis=0) <= np.array([width, height]) - 0.5).all()
    lay, shape = turned_whole((40, 60), 90)
    assert shape == (60, 40)
    np.testing.assert_allclose(lay(np.array([[0, 0], [59, 39]])), [[39, 0], [0, 59]], atol=1e-9)


@pytest.fixture(scope="module")
def predictor():
    return load_predictor("small", long_side=320)


@pytest.mark.once
@pytest.mark.parametrize(("zoom", "turn_deg"), [(1.0, 60), (0.4, -120), (2.2, 10)])
def test_turned_and_zoomed_images_match(predictor, zoom, turn_deg):
    image = texture(300, 320)
    lie = of(zoom, turn_deg)
    middle = np.array([[160.0, 150.0]])
    lie.matrix[:, 2] = (middle - lie(middle))[0]  # about the middle
    other = moved(image, lie, 300, 320)
    plain = predictor.match(image, other, align=False)
    found = predictor.match(image, other)
    wrong_px = np.linalg.norm(lie(found.kpts0) - found.kpts1, axis=1)
    assert len(found) > 2 * len(plain)
    assert (wrong_px < 2 * max(zoom, 1)).mean() > 0.95
    assert (np.diff(found.confidence) <= 0).all()
    swapped = predictor.match(other, image, symmetric=True)
    again = predictor.match(image, other, symmetric=True)
    np.testing.assert_array_equal(again.kpts0, swapped.kpts1)
    np.testing.assert_array_equal(again.kpts1, swapped.kpts0)


@pytest.mark.once
@pytest.mark.parametrize(("zoom", "turn_deg"), [(1.0, -100), (0.3, 0)])
def test_where_nobody_knows_how_images_lie_the_network_tries(
    predictor, monkeypatch, zoom, turn_deg
):
    image = texture(300, 320)
    lie = of(zoom, turn_deg)
    middle = np.array([[160.0, 150.0]])
    lie.matrix[:, 2] = (middle - lie(middle))[0]
    other = moved(image, lie, 300, 320)
    blind = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    monkeypatch.setattr("matching.aligned_look.keypoints_of", lambda *_: blind)
    found = predictor.match(image, other)
    wrong_px = np.linalg.norm(lie(found.kpts0) - found.kpts1, axis=1)
    assert (wrong_px < 2).mean() > 0.9
    monkeypatch.setattr("matching.network.GUESSES", ())
    assert len(found) > 2 * len(predictor.match(image, other))


@pytest.mark.once
def test_upright_images_are_looked_at_once(predictor):
    image = texture(300, 320)
    pair = image[:, :300], image[:, 12:]
    plain, found = predictor.match(*pair, align=False), predictor.match(*pair, align=True)
    np.testing.assert_array_equal(found.kpts1, plain.kpts1)


@pytest.mark.once
def test_an_image_matched_with_itself_stays_symmetric(predictor, monkeypatch):
    image = texture(160, 192)
    half_turn = of(1, 180, (191, 159))
    monkeypatch.setattr("matching.aligned_look.Arrangement.by", lambda *_: half_turn)
    found = predictor.match(image, image, symmetric=True)
    there = {(*a, *b) for a, b in zip(found.kpts0, found.kpts1, strict=True)}
    assert there == {(*row[2:], *row[:2]) for row in there}
    assert len(there) > 100


@pytest.mark.once
@pytest.mark.parametrize("zoom", [0.5, 1.0])
def test_features_of_the_image_that_stays_are_not_made_again(predictor, monkeypatch, zoom):
    image = texture(240, 240)
    turned = moved(image, of(zoom, 90, (239 * zoom, 0)), round(240 * zoom), round(240 * zoom))
    sides = predictor.extract(image), predictor.extract(turned)
    made = []
    features = type(predictor.network).features

    def counting(network, images, turn_deg):
        made.extend(images)
        return features(network, images, turn_deg)

    monkeypatch.setattr(type(predictor.network), "features", counting)
    found = predictor.match(*sides, second_look=0)
    assert len(found) > 200
    assert len(made) == 1  # the one that was laid
