import cv2
import numpy as np
import pytest
import torch
from kornia.color import rgb_to_grayscale
from kornia.contrib import ImageStitcher
from kornia.feature import LoFTR

from matching.kornia_style import KorniaMatcher
from matching.predictor import MatchPredictor
from tests.matching.patch_matcher import PatchMatcher

RNG = np.random.default_rng(0)
SCENE = torch.from_numpy(RNG.random((1, 3, 160, 240), dtype=np.float32))
SHIFT = (64, 16)  # x, y


class CallablePatches(PatchMatcher):
    """With the call that a Matcher has."""

    def forward(self, image0, image1, mask0=None, mask1=None):
        return self.match_features(self.extract(image0, mask0), self.extract(image1, mask1))


@pytest.fixture
def images():
    return SCENE[..., :176], SCENE[..., SHIFT[1] :, SHIFT[0] :]


def test_the_flow_of_kornias_tutorial_finds_the_shift(images):
    matcher = KorniaMatcher(CallablePatches())
    # From here on as in kornia's tutorial on LoFTR.
    input_dict = {"image0": rgb_to_grayscale(images[0]), "image1": rgb_to_grayscale(images[1])}
    with torch.inference_mode():
        correspondences = matcher(input_dict)
    mkpts0 = correspondences["keypoints0"].cpu().numpy()
    mkpts1 = correspondences["keypoints1"].cpu().numpy()
    assert set(correspondences) == {"keypoints0", "keypoints1", "confidence", "batch_indexes"}
    H, inliers = cv2.findHomography(
        mkpts0, mkpts1, cv2.USAC_MAGSAC, 0.5, confidence=0.999, maxIters=10000
    )
    assert (inliers > 0).sum() > 200
    np.testing.assert_allclose(H, [[1, 0, -SHIFT[0]], [0, 1, -SHIFT[1]], [0, 0, 1]], atol=1e-3)


def test_it_passes_for_a_loftr_where_kornia_asks(images):
    matcher = KorniaMatcher(CallablePatches())
    assert isinstance(matcher, LoFTR)
    stitcher = ImageStitcher(matcher, estimator="vanilla")
    right = SCENE[..., 64:]
    with torch.inference_mode():
        panorama = stitcher(SCENE[..., :176], right)
    assert panorama.shape[-1] >= 239
    assert (panorama[..., :170] - SCENE[..., :170]).abs().mean() < 0.01


def test_shipped_weights_give_the_matches_of_the_predictor(images):
    matcher = KorniaMatcher("small")
    grey = [rgb_to_grayscale(image)[..., :90, :125] for image in images]
    got = matcher({"image0": grey[0], "image1": grey[0]})
    predictor = MatchPredictor(matcher.matcher, dtype=torch.float32, long_side=None)
    want = predictor.match(*[grey[0][0, 0]] * 2, align=False, polish=False)
    assert len(want) > 20
    mine, theirs = (np.lexsort(kpts.T) for kpts in (got["keypoints0"].numpy(), want.kpts0))
    np.testing.assert_allclose(got["keypoints1"][mine], want.kpts1[theirs], atol=1e-3)
    np.testing.assert_allclose(got["confidence"][mine], want.confidence[theirs], atol=1e-4)
    assert got["batch_indexes"].eq(0).all()


def test_a_batch_says_which_pair_a_match_is_of(images):
    grey = [rgb_to_grayscale(image) for image in images]
    flat = torch.zeros_like(grey[0])
    both = {"image0": torch.cat([grey[0], flat, grey[0]]), "image1": torch.cat([grey[1]] * 3)}
    found = KorniaMatcher(CallablePatches())(both)
    counts = found["batch_indexes"].bincount(minlength=3).tolist()
    assert counts[0] == counts[2] > 200
    assert counts[1] == 0
    assert found["batch_indexes"].diff().ge(0).all()


def test_masked_pixels_are_not_matched(images):
    grey = [rgb_to_grayscale(image) for image in images]
    mask = torch.ones(1, 160, 176)
    mask[..., :120] = 0
    found = KorniaMatcher(CallablePatches())({"image0": grey[0], "image1": grey[1], "mask0": mask})
    assert len(found["keypoints0"]) > 10
    assert (found["keypoints0"][:, 0] >= 120).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image1": None}, r"wanted image1 \(B, 1, H, W\)"),
        ({"image0": torch.zeros(1, 3, 32, 32)}, "image0 must be .*rgb_to_grayscale"),
        ({"image0": torch.zeros(2, 1, 32, 32)}, "must be one batch, got 2 and 1"),
        ({"mask1": torch.zeros(1, 5, 5)}, r"mask1 must be \(1, 32, 32\)"),
    ],
)
def test_wrong_input_is_told(change, said):
    data = {"image0": torch.zeros(1, 1, 32, 32), "image1": torch.zeros(1, 1, 32, 32)} | change
    data = {name: value for name, value in data.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        KorniaMatcher(CallablePatches())(data)


def test_an_array_is_told_to_be_no_tensor():
    images = {name: np.zeros((1, 1, 32, 32), np.float32) for name in ("image0", "image1")}
    with pytest.raises(TypeError, match=r"image0 must be a tensor \(B, 1, H, W\), got ndarray"):
        KorniaMatcher(CallablePatches())(images)
