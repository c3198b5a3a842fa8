import struct
import zlib

import cv2
import numpy as np
import pytest

from eval.web_upload import MAX_UPLOAD_BYTES, MAX_UPLOAD_PIXELS, clean_png, decode_upload

SIDE = 40
SCRIPT = b"<script>alert(1)</script>"


def photo():
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    return np.dstack(
        [np.tile(ramp, (30, 1)), np.full((30, SIDE), 90, np.uint8), np.tile(ramp[::-1], (30, 1))]
    )


def encoded(suffix, image=None):
    image = photo() if image is None else image
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_comes_back_as_rgb(suffix):
    found = decode_upload(encoded(suffix))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - photo()).mean() < 6


def test_sixteen_bits_grey_and_alpha_become_rgb8():
    grey = np.full((5, 7), 40_000, np.uint16)
    assert decode_upload(cv2.imencode(".png", grey)[1].tobytes()).shape == (5, 7, 3)
    alpha = np.zeros((5, 7, 4), np.uint8)
    assert decode_upload(cv2.imencode(".png", alpha)[1].tobytes()).shape == (5, 7, 3)


def test_what_hides_in_a_picture_is_gone_after_cleaning():
    for data in (encoded(".png") + SCRIPT, encoded(".jpg") + b"PK\x03\x04" + SCRIPT):
        kept = clean_png(decode_upload(data))
        assert SCRIPT not in kept
        assert b"PK\x03\x04" not in kept
    text = encoded(".png").replace(b"IDAT", b"IDAT", 1)
    comment = text[:33] + chunk(b"tEXt", b"Comment\0" + SCRIPT) + text[33:]
    assert SCRIPT not in clean_png(decode_upload(comment))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><svg>&a;</svg>",
        b"<html>" + SCRIPT,
        b"GIF89a" + b"\0" * 100,
        b"II*\0" + b"\0" * 100,
        b"%PDF-1.7" + b"\0" * 100,
        b"RIFF\0\0\0\0AVI LIST" + b"\0" * 100,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF",
        b"\0" * 1000,
    ],
)
def test_other_things_are_refused_in_one_line(data):
    with pytest.raises(ValueError, match=r"^it: wanted") as told:
        decode_upload(data, "it")
    assert "\n" not in str(told.value)


def test_bombs_are_refused_before_they_are_decoded():
    bomb = png(60_000, 60_000, zlib.compress(b"\0" * 10**6))
    with pytest.raises(ValueError, match="wanted at most 16777216 pixels, got 60000 x 60000"):
        decode_upload(bomb)
    jpeg = bytearray(encoded(".jpg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(ValueError, match="65000 x 65000"):
        decode_upload(bytes(jpeg))
    lossy = cv2.imencode(".webp", photo(), [cv2.IMWRITE_WEBP_QUALITY, 80])[1]
    webp = bytearray(lossy.tobytes())
    assert webp[12:16] == b"VP8 "
    webp[26:30] = struct.pack("<HH", 16_383, 16_383)
    with pytest.raises(ValueError, match="16383 x 16383"):
        decode_upload(bytes(webp))
    webp = bytearray(encoded(".webp"))
    assert webp[12:16] == b"VP8L"
    webp[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
    with pytest.raises(ValueError, match="16384 x 16384"):
        decode_upload(bytes(webp))
    with pytest.raises(ValueError, match="bytes"):
        decode_upload(encoded(".png") + b"\0" * MAX_UPLOAD_BYTES)


def test_a_jpeg_of_many_scans_is_refused():
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    data = encoded(".jpg")
    with pytest.raises(ValueError, match="scans"):
        decode_upload(data[:-2] + scan * 200 + data[-2:])


def test_the_largest_picture_is_taken():
    side = int(MAX_UPLOAD_PIXELS**0.5)
    data = cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()
    assert decode_upload(data).shape == (side, side, 3)


def test_a_second_size_in_a_jpeg_does_not_help():
    data = bytearray(encoded(".jpg"))
    frame = data.index(b"\xff\xc0")
    length = struct.unpack_from(">H", data, frame + 2)[0]
    second = bytearray(data[frame : frame + 2 + length])
    second[5:9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ValueError, match="wanted"):
        decode_upload(bytes(data[: frame + 2 + length] + second + data[frame + 2 + length :]))
