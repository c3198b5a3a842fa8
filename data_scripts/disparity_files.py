"""Disparity maps in files: PFM, 16-bit PNG as KITTI writes it, NPY and HDF5.

In arrays and in PFM an unknown pixel is infinite, as in Middlebury's files; in a KITTI PNG it is 0. Every
file is written whole or not at all, and one that cannot be read is told in one line.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from data_scripts.atomic import replacing, writable
from data_scripts.image_files import MAX_PIXELS, read_image
from data_scripts.untrusted import open_untrusted_h5, read_h5_array, told_as

KITTI_SCALE = 256  # stored values per pixel of disparity
KITTI_LARGEST = (2**16 - 1) / KITTI_SCALE  # px
# NumPy's own reader of this header lets errors of Python's tokenizer through.
NPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)"
    rb"\{'descr': '([<>]f[248])', 'fortran_order': (True|False), "
    rb"'shape': \((\d{1,9}), (\d{1,9})\), \} *\n",
    re.DOTALL,
)
PFM_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,32})(?:\r\n|\s)")
Fields = Mapping[str, np.ndarray]


def read_pfm(path: str | Path) -> np.ndarray:
    """The map (H, W) float32 in a PFM file, top row first; infinity stays, as the mark of the unknown.

    The sign of the header's scale is the byte order. Its size is not applied to the values: Middlebury's
    files say 1/255 and mean pixels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no whole PFM file of one channel; the message names the file.
    """
    path = Path(path)
    data = _read_bytes(path)
    header = PFM_HEADER.match(data)
    if header is None or header[1] != b"Pf":
        got = "three channels (PF)" if header else f"{data[:12]!r}"
        raise ValueError(
            f"{path}: wanted a PFM file of one channel, which begins with Pf, width, height and scale, "
            f"got {got}; check the file"
        )
    width, height = int(header[2]), int(header[3])
    _check_bytes((height, width), 4, len(data) - header.end(), path)
    order = _byte_order(header[4], path)
    values = np.frombuffer(data, f"{order}f4", offset=header.end()).reshape(height, width)
    return np.ascontiguousarray(values[::-1], dtype=np.float32)


def write_pfm(path: str | Path, disp: np.ndarray, *, little_endian: bool = True) -> None:
    """Writes disp (H, W) as it is, infinite and negative values too."""
    path = writable(path, (".pfm",))
    values = _checked_map(disp)[::-1].astype("<f4" if little_endian else ">f4")
    H, W = values.shape
    header = f"Pf\n{W} {H}\n{-1.0 if little_endian else 1.0}\n".encode()
    with replacing(path) as temporary:
        temporary.write_bytes(header + values.tobytes())


def read_kitti_disparity(path: str | Path) -> np.ndarray:
    """The map (H, W) float32 in a 16-bit PNG of 256 times the disparity; 0 = unknown.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such picture; the message names the file.
    """
    stored = read_image(path)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise ValueError(
            f"{path}: wanted a grey 16-bit PNG of {KITTI_SCALE} times the disparity, got "
            f"{stored.dtype} {stored.shape}; a picture of a disparity cannot be read back"
        )
    return np.asarray(stored.astype(np.float32) / KITTI_SCALE)


def write_kitti_disparity(
    path: str | Path, disp: np.ndarray, known: np.ndarray | None = None
) -> None:
    """Writes disp (H, W) as a 16-bit PNG of 256 times the disparity.

    Known pixels are at least 1/256, since 0 would say unknown: negative ones are raised to it.

    Args:
        path: of the file, .png.
        disp: px; rounded to the nearest 1/256.
        known: bool (H, W); None: wherever `disp` is finite.

    Raises:
        ValueError: a known disparity above 255.996 px, which the format cannot hold; nothing is written.
    """
    path = writable(path, (".png",))
    disp = _checked_map(disp)
    known = np.isfinite(disp) if known is None else known & np.isfinite(disp)
    largest = float(disp[known].max(initial=0))
    if largest > KITTI_LARGEST:
        raise ValueError(
            f"{path}: a 16-bit PNG holds disparities up to {KITTI_LARGEST:.3f} px, got {largest:.3f}; "
            "write .pfm, .npy or .h5"
        )
    stored = np.rint(np.where(known, disp, 0) * KITTI_SCALE).clip(1, None) * known
    _, encoded = cv2.imencode(".png", stored.astype(np.uint16))
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def read_disparity(path: str | Path) -> np.ndarray:
    """The map (H, W) float32 in a .pfm, .png (as KITTI's), .npy or .h5 file; infinite where unknown.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or a file that cannot be read; the message names the file.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise ValueError(
            f"{path}: wanted a disparity in {', '.join(READERS)}, got {path.suffix or 'none'!r}; "
            "convert the file"
        )
    return READERS[path.suffix.lower()](path)


def write_disparity(
    path: str | Path, disp: np.ndarray, beside: Fields | None = None, notes: str = ""
) -> None:
    """Writes disp (H, W), px, in the format that the suffix of `path` names; see WRITERS.

    Args:
        path: of the file.
        disp: px.
        beside: further maps of the same size by name; kept by HDF5 alone.
        notes: what made the map; kept by HDF5 alone.
    """
    path = writable(path, tuple(WRITERS))
    WRITERS[path.suffix.lower()](path, {"disparity": _checked_map(disp), **(beside or {})}, notes)


def _read_bytes(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such disparity file; check the path")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); name a file") from error


def _check_bytes(shape: tuple[int, int], itemsize: int, found: int, path: Path) -> None:
    height, width = shape
    wanted = itemsize * height * width
    if not 0 < height * width <= MAX_PIXELS or found != wanted:
        raise ValueError(
            f"{path}: wanted {wanted} bytes for {height} x {width} pixels, at most {MAX_PIXELS}, "
            f"got {found}; fetch or write the file again"
        )


def _byte_order(scale: bytes, path: Path) -> str:
    try:
        value = float(scale)
    except ValueError:
        value = 0.0
    if value == 0 or not math.isfinite(value):
        raise ValueError(
            f"{path}: wanted a scale that is negative (little-endian) or positive, got {scale!r}; "
            "check the file"
        )
    return "<" if value < 0 else ">"


def _checked_map(disp: np.ndarray) -> np.ndarray:
    if disp.ndim != 2 or 0 in disp.shape or disp.dtype.kind != "f":
        raise ValueError(f"disparity must be float (H, W), got {disp.dtype} {disp.shape}")
    return disp.astype(np.float32)


def _read_png(path: Path) -> np.ndarray:
    disp = read_kitti_disparity(path)
    return np.where(disp > 0, disp, np.float32(np.inf))


def _read_npy(path: Path) -> np.ndarray:
    data = _read_bytes(path)
    header = NPY_HEADER.match(data)
    if header is None:
        raise ValueError(f"{path}: wanted a .npy file of float (H, W), got {data[:80]!r}")
    dtype = np.dtype(header[1].decode())
    shape = int(header[3]), int(header[4])
    values = data[header.end() :]
    _check_bytes(shape, dtype.itemsize, len(values), path)
    order: Literal["F", "C"] = "F" if header[2] == b"True" else "C"
    return _known_map(np.frombuffer(values, dtype).reshape(shape, order=order), path)


def _read_h5(path: Path) -> np.ndarray:

    _read_bytes(path)
    with told_as(path, "HDF5 with a map `disparity`"), open_untrusted_h5(path) as file:
        values = read_h5_array(file["disparity"], path)
    return _known_map(values, path)


def _known_map(values: np.ndarray, path: Path) -> np.ndarray:
    try:
        return _checked_map(values)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: {error}; check the file") from error


def _write_npy(path: Path, fields: Fields, _notes: str) -> None:
    with replacing(path) as temporary:
        np.save(temporary, fields["disparity"], allow_pickle=False)


def _write_h5(path: Path, fields: Fields, notes: str) -> None:
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        file.attrs["notes"] = notes


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".pfm": read_pfm,
    ".png": _read_png,
    ".npy": _read_npy,
    ".h5": _read_h5,
}
WRITERS: dict[str, Callable[[Path, Fields, str], None]] = {
    ".pfm": lambda path, fields, _: write_pfm(path, fields["disparity"]),
    ".png": lambda path, fields, _: write_kitti_disparity(path, fields["disparity"]),
    ".npy": _write_npy,
    ".h5": _write_h5,
}
