"""What a stranger's upload must be: one picture, small enough, in a format that browsers show.

Decoding happens in memory, by content; the name of the file decides nothing. What is kept is a PNG that was
written here from the pixels, so nothing of the uploaded bytes (metadata, scripts, a second format behind the
picture) is ever stored or served.
"""

import struct
from collections.abc import Callable

import cv2
import numpy as np

from data_scripts.given_images import as_rgb8
from data_scripts.image_files import JPEG_START, PNG_START, decode_image

MAX_UPLOAD_BYTES = 2**25  # 32 MiB
MAX_UPLOAD_PIXELS = 2**24  # 16.8 million; 48 MiB once decoded
MAX_SCANS = 100  # of a JPEG; each scan of a progressive one costs a pass over all pixels
PNG_SPEED = [cv2.IMWRITE_PNG_COMPRESSION, 1]
Size = tuple[int, int]  # height, width


def decode_upload(data: bytes, name: str = "upload") -> np.ndarray:
    """The picture in `data`, (H, W, 3) uint8 RGB, turned upright by its EXIF tag.

    Args:
        data: PNG, JPEG or WebP; of an animation the first frame.
        name: what messages call it.

    Raises:
        ValueError: another format, a broken file, too many bytes, pixels or scans; one line.
    """
    if not 0 < len(data) <= MAX_UPLOAD_BYTES:
        raise ValueError(
            f"{name}: wanted 1 to {MAX_UPLOAD_BYTES} bytes, got {len(data)}; shrink the image"
        )
    height, width = _size(data, name)
    if height * width > MAX_UPLOAD_PIXELS:
        raise ValueError(
            f"{name}: wanted at most {MAX_UPLOAD_PIXELS} pixels, got {width} x {height}; "
            "shrink the image"
        )
    if data.startswith(JPEG_START) and data.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"{name}: wanted a JPEG of at most {MAX_SCANS} scans; save it again")
    image = decode_image(data, name)
    if image.shape[0] * image.shape[1] > MAX_UPLOAD_PIXELS:
        raise ValueError(f"{name}: wanted the size that the header says, got {image.shape}")
    return as_rgb8(image, name)


def clean_png(image: np.ndarray) -> bytes:
    """The pixels (H, W, 3) uint8 RGB as a PNG without anything else."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), PNG_SPEED)
    return bytes(encoded.tobytes())


def _size(data: bytes, name: str) -> Size:
    """Height and width that the header promises, before anything is decoded."""
    for start, size_of in SIZES.items():
        if data.startswith(start):
            try:
                return size_of(data)
            except (struct.error, ValueError, IndexError) as error:
                raise ValueError(
                    f"{name}: wanted a complete image, got a header that does not read"
                ) from error
    raise ValueError(
        f"{name}: wanted a PNG, JPEG or WebP picture, got bytes that begin with {data[:8]!r}; "
        "convert the file"
    )


def _png(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, len(PNG_START) + 8)
    return int(height), int(width)


def _jpeg(data: bytes) -> Size:
    """Checked with the walk over all markers in `decode_image`; 16 bits a side bound it here."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if not 0xFF00 < marker <= 0xFFFF or length < 2:
            raise ValueError("no marker where one must be")
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return int(height), int(width)
        position += 2 + length


def _webp(data: bytes) -> Size:
    """Canvas of the three kinds of WebP (RFC 9649, sec. 2.5 to 2.7)."""
    kind = data[12:16]
    if data[8:12] != b"WEBP" or len(data) < 30:
        raise ValueError("RIFF, but no WebP")
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError(f"a WebP of kind {kind!r}")
    return height, width


SIZES: dict[bytes, Callable[[bytes], Size]] = {
    PNG_START: _png,
    JPEG_START: _jpeg,
    b"RIFF": _webp,
}
