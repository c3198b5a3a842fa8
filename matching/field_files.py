"""Arrays with notes beside them as a file, written whole or not at all.

The notes are attributes in HDF5, scalars in NPZ, comment lines in CSV.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_scripts.atomic import replacing, writable

SUFFIXES = (".h5", ".hdf5", ".npz", ".csv")
Row = Sequence[object]


def write_fields(
    path: str | Path,
    fields: Mapping[str, np.ndarray],
    notes: Mapping[str, str | int],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> None:
    """Writes to `path` in the format that its suffix names; see SUFFIXES.

    Args:
        path: of the file.
        fields: arrays, in HDF5 and NPZ.
        notes: what they are of.
        columns: names of the columns in CSV.
        rows: what stands there in the place of `fields`.
    """
    path = writable(path, SUFFIXES)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            write_csv(temporary, columns, rows, notes)
        elif path.suffix.lower() == ".npz":
            scalars = {name: np.array(value) for name, value in notes.items()}
            np.savez(temporary, allow_pickle=False, **{**fields, **scalars})
        else:
            _write_h5(temporary, fields, notes)


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Row], notes: Mapping[str, str | int]
) -> None:
    """Writes a table below its notes; what is there goes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        for name, value in notes.items():
            one_line = " ".join(str(value).splitlines())
            file.write(f"# {name}: {one_line}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def digits(values: Iterable[float]) -> list[str]:
    """Numbers as they stand in a table: nine digits bring a float32 back to the last bit."""
    return [f"{value:.9g}" for value in values]


def _write_h5(path: Path, fields: Mapping[str, np.ndarray], notes: Mapping[str, str | int]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values)
        file.attrs.update(notes)
