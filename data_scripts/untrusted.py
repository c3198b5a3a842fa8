"""Files from strangers: arrays are read only if their size is plausible, and every fault is told in one line.

A header of a few bytes can promise terabytes. No compression that these formats know packs more than about
1000 bytes into one, so what promises more of its file is broken or hostile, and is refused before memory is
asked for.
"""

import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

MAX_ARRAY_BYTES = 2**32
MOST_PACKED = 1100  # bytes out of one; deflate reaches 1032
ALWAYS_FINE = 2**20  # bytes; small arrays may be constant
MAX_SCANNED = 2**28  # bytes; larger HDF5 files are opened without a look at their heaps
HEAP = b"GCOL\x01\0\0\0"
OBJECT = struct.Struct("<HH4xQ")  # of a heap: number, references, size
MAX_NAMES = 100_000  # entries of an .npz


@contextmanager
def told_as(path: str | Path, wanted: str) -> Iterator[None]:
    """Whatever is raised inside becomes one ValueError that names the file and what was wanted.

    For code of others that meets damaged bytes: what it then raises is not to be foreseen. A missing file,
    and a fault that names the file in one line already, go through as they are.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        line = (str(error).splitlines() or [""])[0][:300]
        if type(error) is ValueError and line.startswith(str(path)) and line == str(error):
            raise
        raise ValueError(
            f"{path}: wanted {wanted}, got one that does not read "
            f"({type(error).__name__}: {' '.join(line.split())}); fetch or write it again"
        ) from error


def check_size(size: int, source: int, what: str) -> None:
    """Raises ValueError where `size` bytes cannot come out of a file of `source` bytes, or are too many."""
    if size > MAX_ARRAY_BYTES or size > max(ALWAYS_FINE, MOST_PACKED * source):
        raise ValueError(f"{what} promises {size} bytes, which a file of {source} cannot hold")


def open_untrusted_h5(path: str | Path) -> h5py.File:
    """The HDF5 file at `path` for reading, after a look at its heaps.

    The HDF5 library walks through a heap of texts by the sizes in it, and for ever where one is 0.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a heap with such a size, in a file of up to MAX_SCANNED bytes.
        OSError: no HDF5 file.
    """
    if Path(path).stat().st_size <= MAX_SCANNED:
        check_heaps(Path(path).read_bytes(), str(path))
    return h5py.File(path)


def check_heaps(data: bytes, name: str) -> None:
    """Raises ValueError for a global heap that has no end (HDF5 file format 3.0, III.E)."""
    start = data.find(HEAP)
    while start >= 0:
        (length,) = struct.unpack("<Q", data[start + 8 : start + 16].ljust(8, b"\0"))
        end = min(start + length, len(data))
        place = start + OBJECT.size
        while place + OBJECT.size <= end:
            number, _, size = OBJECT.unpack_from(data, place)
            if number == 0 and size < OBJECT.size:
                raise ValueError(f"{name}: wanted sound HDF5, got a heap without an end")
            place += size if number == 0 else OBJECT.size + (size + 7) // 8 * 8
        start = data.find(HEAP, start + 1)


def read_h5_array(entry: object, path: str | Path) -> np.ndarray:
    """The array of an HDF5 dataset in the file at `path`.

    Raises:
        ValueError: it is none, too large for its file, or lies in another file.
    """
    if not isinstance(entry, h5py.Dataset) or entry.shape is None:
        raise ValueError(f"{path}: wanted an array, got {type(entry).__name__}")
    if entry.external or entry.is_virtual:
        raise ValueError(f"{path}: wanted {entry.name} inside the file, got a link to another one")
    check_size(int(entry.nbytes), Path(path).stat().st_size, f"{path}: {entry.name}")
    return np.asarray(entry[()])


def read_json_rows(path: Path, wanted: str = "a JSON list of pairs") -> list[dict[str, Any]]:
    """The objects of a JSON list.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such list; one line.
    """
    with told_as(path, wanted):
        rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list):
        raise ValueError(f"{path}: wanted {wanted}, got {type(rows).__name__}")
    strange = next((n for n, row in enumerate(rows) if not isinstance(row, dict)), None)
    if strange is not None:
        got = type(rows[strange]).__name__
        raise ValueError(f"{path}: wanted {wanted}, each an object, got {got} in place {strange}")
    return rows


def read_npz(
    path: str | Path, wanted: str = "plain arrays saved by NumPy"
) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, without pickles.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such file of plain arrays; one line.
    """
    with told_as(path, wanted), zipfile.ZipFile(path) as file:
        entries = file.infolist()
        if len(entries) > MAX_NAMES:
            raise ValueError(f"{path}: wanted at most {MAX_NAMES} arrays, got {len(entries)}")
        length = Path(path).stat().st_size
        return {
            entry.filename.removesuffix(".npy"): _entry(file, entry, length) for entry in entries
        }


def read_npy(path: str | Path, wanted: str = "a plain array saved by NumPy") -> np.ndarray:
    """The array of a .npy file, without pickles; errors as in read_npz."""
    with told_as(path, wanted), Path(path).open("rb") as stream:
        return _array(stream, Path(path).stat().st_size, Path(path).name)


def _entry(file: zipfile.ZipFile, entry: zipfile.ZipInfo, length: int) -> np.ndarray:
    check_size(entry.file_size, length, entry.filename)
    with file.open(entry) as stream:
        return _array(stream, entry.file_size, entry.filename)


def _array(stream: IO[bytes], length: int, name: str) -> np.ndarray:
    """The array in a stream of `length` bytes, whose header numpy reads."""
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects")
    count = int(np.prod(shape, dtype=object))
    data = stream.read(length)
    if count < 0 or len(data) != count * dtype.itemsize:
        raise ValueError(f"{name} promises {shape} of {dtype}, got {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
