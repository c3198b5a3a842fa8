"""Image files: bytes to arrays, and every way in which a file can be bad told in one line.

Decoding is OpenCV's. What it leaves to luck is checked before it: files that stop early, checksums, and
headers that promise more pixels than a machine should be asked for.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

MAX_PIXELS = 2**28  # 268 million; a header of 30 bytes can promise terabytes
MAX_BYTES = 2**31  # of a file
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
# Frame headers of JPEG: C0 to CF without C4 (Huffman tables), C8 (reserved), CC (arithmetic tables).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # inside a scan: no stuffing, no restart
# Colour and depth as stored, alpha dropped, turned upright as the EXIF tag says.
READ_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH

# OpenCV 5 moved its log functions.
OPENCV_LOG: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file: (H, W) grey or (H, W, 3) RGB, uint8, uint16 or float32.

    The EXIF orientation is applied, as `cv2.imread` does, so pixels are those of the upright picture.
    An alpha channel is dropped, not blended.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, or a file that is no complete image; the message names the file.
    """
    return decode_image(read_image_bytes(path), str(path))


def decode_image(data: bytes, name: str, flags: int = READ_FLAGS) -> np.ndarray:
    """The picture in the bytes of an image file, as `read_image`; `name` is for messages.

    Other `flags` of `cv2.imdecode` ask for other colours.

    Raises:
        ValueError: no complete image.
    """
    _check_header(data, name)
    image = _decode(data, flags)
    if image is None:
        raise ValueError(
            f"{name}: wanted a complete image (PNG, JPEG, TIFF, WebP, BMP, PNM ...), got "
            f"{len(data)} bytes that OpenCV cannot decode; check or convert the file"
        )
    _check_pixels(image.shape[0], image.shape[1], name)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_image_bytes(path: str | Path) -> bytes:
    """The bytes of a file that may be an image; raises as `read_image`."""
    path = Path(path)
    try:
        regular, length = path.is_file(), path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise FileNotFoundError(f"{path!s}: no such image file; check the path") from error
    if not regular:
        got = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{path}: wanted an image file, got {got}; name one image")
    if not 0 < length <= MAX_BYTES:
        raise ValueError(
            f"{path}: wanted an image file of 1 to {MAX_BYTES} bytes, got {length}; "
            "check how the file was written"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    with _quiet_opencv():
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:  # most formats answer None; some, and too many pixels, raise
            return None


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV's log is silent inside: the one line that the user gets is ours."""
    level = OPENCV_LOG.getLogLevel()
    OPENCV_LOG.setLogLevel(0)
    try:
        yield
    finally:
        OPENCV_LOG.setLogLevel(level)


def _check_header(data: bytes, name: str) -> None:
    """Raises for a PNG or JPEG that stops early, fails a checksum or promises too many pixels."""
    size: tuple[int, int] | None = None
    if data.startswith(PNG_START):
        size = _png_size(data, name)
    elif data.startswith(JPEG_START):
        size = _jpeg_size(data, name)
    if size is not None:
        _check_pixels(*size, name)


def _check_pixels(height: int, width: int, name: str) -> None:
    if height < 1 or width < 1:
        raise ValueError(
            f"{name}: wanted at least one pixel, got {height} x {width}; check the file"
        )
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{name}: wanted at most {MAX_PIXELS} pixels, got {height} x {width}; shrink the image"
        )


def _truncated(name: str, kind: str, missing: str) -> ValueError:
    return ValueError(
        f"{name}: wanted a complete {kind}, got one that {missing}; fetch or write the file again"
    )


def _png_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of a PNG after a walk over its chunks (ISO/IEC 15948, clause 5.3)."""
    position, size = len(PNG_START), None
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        critical = not kind[0] & 0x20  # upper-case first letter: the picture depends on it
        if critical and zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(
            data[end - 4 : end]
        ):
            raise _truncated(name, "PNG", f"fails the checksum of its {kind!r} chunk")
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack_from(">II", data, position + 8)
            size = (height, width)
        if kind == b"IEND":
            if size is None:
                raise _truncated(name, "PNG", "has no header")
            return size
        position = end
    raise _truncated(name, "PNG", f"stops after {len(data)} bytes, before its end")


def _jpeg_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of a JPEG after a walk over its markers (ITU-T T.81, annex B).

    The walk jumps over each segment, so the end mark of an embedded thumbnail does not count.
    """
    position, size = len(JPEG_START), None
    while (found := JPEG_MARKER.search(data, position)) is not None:
        marker, position = found.group(1)[0], found.end()
        if marker == 0xD9:  # end of image
            if size is None:
                raise _truncated(name, "JPEG", "has no frame")
            return size
        if marker == 0x01 or position + 2 > len(data):  # 01 stands alone
            continue
        if marker in JPEG_FRAMES and position + 7 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = (height, width)
        position += struct.unpack_from(">H", data, position)[0]
    raise _truncated(name, "JPEG", f"stops after {len(data)} bytes, before its end mark")
