import os
import stat

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from data_scripts.given_images import as_grey, as_mask, as_rgb8
from data_scripts.image_files import MAX_PIXELS, read_image

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)
COLOUR = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encoded(extension, image=COLOUR):
    ok, data = cv2.imencode(extension, image)
    assert ok
    return data.tobytes()


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        GREY[..., None],
        GREY.astype(np.float16) / 255,
        GREY.astype(np.float64) / 255,
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[None],
        np.asfortranarray(GREY),
        GREY[::-1, ::-1].copy()[::-1, ::-1],
    ],
)
def test_every_form_of_a_grey_image_gives_the_same_values(image):
    grey = as_grey(image)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, GREY / 255, atol=5e-5)  # float16 keeps 11 bits


def test_colour_is_rgb_with_the_weights_of_opencv():
    pure = np.eye(3, dtype=np.float32)[None]  # one red, one green, one blue pixel
    np.testing.assert_allclose(as_grey(pure), [[0.299, 0.587, 0.114]], atol=1e-6)


def test_alpha_is_dropped_and_channels_may_come_first_in_tensors():
    alpha = np.dstack([COLOUR, np.zeros((40, 50), np.uint8)])
    tensor = torch.from_numpy(COLOUR).permute(2, 0, 1)
    for image in (alpha, tensor):
        np.testing.assert_array_equal(as_grey(image), as_grey(COLOUR))


@pytest.mark.parametrize(
    ("largest", "scale"), [(255, 255), (256, 1023), (4095, 4095), (9000, 16383), (65535, 65535)]
)
def test_uint16_is_divided_by_the_full_scale_of_its_bit_depth(largest, scale):
    image = np.array([[0, largest]], np.uint16)
    for stored in (image, image.astype(">u2")):
        np.testing.assert_allclose(as_grey(stored), [[0, largest / scale]], rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (np.full((4, 4), np.nan), ValueError, "finite"),
        (np.full((4, 4), np.inf), ValueError, "finite"),
        (np.full((4, 4), 255.0), ValueError, r"\[0, 1\], got \[255, 255\]"),
        (np.zeros((0, 4), np.uint8), ValueError, "at least one pixel"),
        (np.zeros((3, 4, 4), np.uint8), None, ""),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"\(4, 4, 2\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, r"\(1, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), ValueError, r"\(4,\)"),
        (np.zeros((4, 4), np.int64), TypeError, "int64"),
        (np.zeros((4, 4), bool), TypeError, "bool"),
        (np.zeros((4, 4), np.complex64), TypeError, "complex64"),
        (np.full((4, 4), "a"), TypeError, "got <U1"),
        (torch.zeros(2, 4, 4), ValueError, r"\(2, 4, 4\)"),
        (torch.zeros(4, 4, dtype=torch.int32), TypeError, "int32"),
        ([[0, 1]], TypeError, "list"),
        (None, TypeError, "NoneType"),
    ],
)
def test_a_wrong_array_is_refused_in_one_line_that_names_it(image, kind, words):
    if kind is None:  # (3, 4, 4) is a picture of four channels, three rows high
        assert as_grey(image).shape == (3, 4)
        return
    with pytest.raises(kind, match=f"^image7 .*{words}") as caught:
        as_grey(image, "image7")
    assert "\n" not in str(caught.value)


def test_a_mask_must_be_bool_and_of_the_size_of_its_image():
    mask = np.eye(4, 5, dtype=bool)
    np.testing.assert_array_equal(as_mask(torch.from_numpy(mask), (4, 5)), mask)
    with pytest.raises(TypeError, match="pass mask > 0"):
        as_mask(mask.astype(np.uint8), (4, 5))
    with pytest.raises(ValueError, match=r"\(5, 4\), got \(4, 5\)"):
        as_mask(mask, (5, 4))


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff", ".ppm", ".webp"])
def test_a_file_reads_as_the_rgb_array_that_was_written(tmp_path, extension):
    path = tmp_path / f"photo{extension}"
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
    cv2.imwrite(str(path), COLOUR[..., ::-1], lossless)
    np.testing.assert_array_equal(read_image(path), COLOUR)
    np.testing.assert_array_equal(as_rgb8(path), COLOUR)


def test_sixteen_bits_and_grey_files_keep_depth_and_shape(tmp_path):
    deep = GREY.astype(np.uint16) * 3000
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "grey.png"), GREY)
    np.testing.assert_array_equal(as_rgb8(tmp_path / "grey.png")[..., 2], GREY)


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
    image = PillowImage.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6  # the top of the scene is on the right of the stored picture
    image.save(tmp_path / "sideways.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "sideways.png"), np.rot90(GREY, -1))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_stops_early_is_refused(tmp_path, extension, share):
    path, data = tmp_path / f"cut{extension}", encoded(extension)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=f"^{path}: wanted a complete"):
        read_image(path)


def test_a_jpeg_is_complete_only_with_its_own_end_mark(tmp_path):
    # A thumbnail inside an APP1 segment has an end mark of its own.
    data, thumbnail = encoded(".jpg"), encoded(".jpg", COLOUR[:8, :8])
    app1 = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    whole = data[:2] + app1 + data[2:]
    path = tmp_path / "thumbnail.jpg"
    path.write_bytes(whole + b"trailing bytes are harmless")
    assert read_image(path).shape == (40, 50, 3)
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match="before its end mark"):
        read_image(path)


def test_a_png_with_one_wrong_bit_in_its_pixels_is_refused(tmp_path):
    data = bytearray(encoded(".png"))
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.png").write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        read_image(tmp_path / "flipped.png")


def test_a_header_that_promises_too_much_is_refused_before_decoding(tmp_path):
    data = bytearray(encoded(".jpg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    (tmp_path / "bomb.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=f"at most {MAX_PIXELS} pixels, got 65535 x 65535"):
        read_image(tmp_path / "bomb.jpg")


def test_what_is_no_image_file_is_told_apart(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in [
        ("empty.png", "got 0"),
        ("text.png", "cannot decode"),
        (".", "got a folder"),
        ("pipe.png", "no regular file"),
    ]:
        with pytest.raises(ValueError, match=words):
            read_image(tmp_path / name)
    for name in ["missing.png", "text.png/inside", "a\0b", "x" * 5000]:
        with pytest.raises(FileNotFoundError, match="no such image file"):
            read_image(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_refused(tmp_path):
    path = tmp_path / "locked.png"
    path.write_bytes(encoded(".png"))
    path.chmod(stat.S_IWUSR)
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(path)
