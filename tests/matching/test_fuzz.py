"""Whatever the predictor is given, it answers with matches inside both images or one clear error."""

import cv2
import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_scripts.given_images import as_grey
from data_scripts.image_files import read_image
from matching.predictor import MatchPredictor
from tests.matching.patch_matcher import PatchMatcher

REFUSED = (ValueError, TypeError, FileNotFoundError)
PREDICTOR = MatchPredictor(PatchMatcher(threshold=-1.0), long_side=96)  # nearly everything matches
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 200), st.sampled_from([1, 8, 16, 333, 700]))
DTYPES = st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64])
ODD_DTYPES = [np.int8, np.int32, np.int64, np.uint32, bool, complex, object, "U3", "M8[s]"]
FORMATS = (".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm")


@st.composite
def images(draw):
    """An image in one of the forms that the predictor takes, and its size."""
    size = draw(SIDES), draw(SIDES)
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    flat = draw(st.booleans()) and draw(st.booleans())
    values = np.full((*size, *channels), 0.5) if flat else rng.random((*size, *channels))
    dtype = np.dtype(draw(DTYPES))
    top = {"f": 1, "u": draw(st.sampled_from([255, 4095, 65535]))}[dtype.kind]
    top = min(top, 255) if dtype == np.uint8 else top
    image = (values * top).astype(dtype)
    if draw(st.booleans()):
        image = image[::-1, ::-1]
    if draw(st.booleans()) and dtype != np.uint16:
        tensor = torch.from_numpy(image.copy())
        return (tensor.permute(2, 0, 1) if channels else tensor), size
    return image, size


@st.composite
def masks(draw, size):
    kind = draw(st.sampled_from(["none", "all", "nothing", "box", "noise"]))
    if kind == "none":
        return None
    mask = np.full(size, kind == "all")
    if kind == "box":
        top, left = (draw(st.integers(0, side - 1)) for side in size)
        mask[top:, left:] = True
    if kind == "noise":
        mask = np.random.default_rng(0).random(size) > draw(st.sampled_from([0.01, 0.5]))
    return mask


@st.composite
def options(draw):
    return {
        "max_matches": draw(st.sampled_from([None, 0, 1, 10])),
        "min_confidence": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "symmetric": draw(st.booleans()),
        "rotations": tuple(draw(st.permutations([0, 90, 180, 270])))[: draw(st.integers(1, 4))],
    }


def answer_of(function, argument):
    """What `function` gives, or None, and the words with which it refuses, or None."""
    try:
        return function(argument), None
    except REFUSED as error:
        return None, str(error)


def check_points(kpts, size, mask):
    assert kpts.dtype == np.float32
    assert kpts.ndim == 2
    assert kpts.shape[1] == 2
    assert (kpts >= 0).all()
    assert (kpts <= (size[1] - 1, size[0] - 1)).all()
    if mask is not None:
        for rounded in (np.floor, np.ceil, np.rint):
            x, y = rounded(kpts).astype(int).T
            assert mask[y, x].all()


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_matches_of_any_two_images_lie_inside_both_and_outside_the_masks(data):
    (image0, size0), (image1, size1) = data.draw(images()), data.draw(images())
    mask0, mask1 = data.draw(masks(size0)), data.draw(masks(size1))
    chosen = data.draw(options())
    matches = PREDICTOR.match(image0, image1, masks=(mask0, mask1), **chosen)
    check_points(matches.kpts0, size0, mask0)
    check_points(matches.kpts1, size1, mask1)
    assert len(matches.kpts0) == len(matches.kpts1) == len(matches.confidence)
    assert len(matches) <= (
        len(matches) if chosen["max_matches"] is None else chosen["max_matches"]
    )
    assert (np.diff(matches.confidence) <= 0).all()
    assert ((matches.confidence >= chosen["min_confidence"]) & (matches.confidence <= 1)).all()


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 5), max_size=5),
    st.one_of(DTYPES, st.sampled_from(ODD_DTYPES)),
    st.sampled_from([0, 1, -1, 300, np.nan, np.inf, -np.inf]),
    st.booleans(),
)
def test_an_array_of_any_shape_type_and_value_is_taken_or_refused(shape, dtype, value, as_tensor):
    image = np.zeros(shape)
    image.flat[-1:] = value
    with np.errstate(all="ignore"):
        image = np.asarray(image if np.dtype(dtype).kind == "f" else np.nan_to_num(image)).astype(
            dtype
        )
    image = np.asarray(image)
    if as_tensor and image.dtype.kind in "biuf":
        image = torch.from_numpy(image.copy())
    grey, refusal = answer_of(as_grey, image)
    if refusal is not None:
        assert "\n" not in refusal
        return
    assert grey.ndim == 2
    assert grey.dtype == np.float32
    assert ((grey >= 0) & (grey <= 1)).all()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.data())
def test_a_file_of_any_bytes_is_read_or_refused_in_one_line(tmp_path_factory, suffix, data):
    scene = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    content = bytearray(cv2.imencode(suffix, scene)[1].tobytes())
    for _ in range(data.draw(st.integers(0, 4))):
        # Most damage goes where the structure is: into the first bytes.
        last = data.draw(st.sampled_from([40, 200, len(content)]))
        content[data.draw(st.integers(0, min(last, len(content)) - 1))] = data.draw(
            st.integers(0, 255)
        )
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    start = data.draw(st.sampled_from([0, 0, 0, 1]))
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(content[start:end])
    image, refusal = answer_of(read_image, path)
    if refusal is not None:
        assert refusal.startswith(str(path))
        assert "\n" not in refusal
        return
    assert image.ndim in (2, 3)
    assert image.size > 0
    # A damaged header may still promise a large image, or floats, which may be out of range.
    _, refusal = answer_of(PREDICTOR.extract, image[:64, :64])
    assert refusal is None or image.dtype.kind == "f"


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_image_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.png"
    path.write_bytes(content)
    _, refusal = answer_of(read_image, path)
    assert refusal is not None
    assert "\n" not in refusal
