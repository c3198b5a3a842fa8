"""What kernels took of a GPU, as `aot` keeps it in a file and as tables. Needs no Triton.

A file holds one row a line, as JSON, and only grows: a run that is stopped loses nothing.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A compiled kernel."""

    key: str  # of everything that the outcome depends on
    case: str
    kernel: str
    dtype: str
    channels: int  # 0 for a kernel that reads no rows
    arch: int  # 80, 90, ...
    warps: int  # of a program
    registers: int  # of a thread
    spill_bytes: int  # of a thread
    shared_bytes: int  # of a program
    instructions: int  # of a program, once


def read(path: Path) -> dict[str, Row]:
    """Key -> row of a file; none where there is no file. A last line cut short is left out.

    Raises:
        ValueError: another line is no row.
    """
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = Row(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: wanted a compiled kernel as JSON with "
                f"{', '.join(field.name for field in fields(Row))}, got {line[:60]!r}; "
                "name another file"
            ) from error
        rows[row.key] = row
    return rows


def append(path: Path, row: Row) -> None:
    """Adds a row at the end of the file."""
    if path.exists() and not _ends_with_a_line(path):  # a run was stopped while it wrote
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def _ends_with_a_line(path: Path) -> bool:
    """Whether the last line of a file is whole; an empty file has none."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def listing(rows: Sequence[Row]) -> Iterator[str]:
    """A table of all rows."""
    yield "| kernel | dtype | sm | warps | registers | spilled bytes | shared bytes | instructions |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        labels = (row.case, row.dtype, row.arch, row.warps)
        yield _line(*labels, row.registers, row.spill_bytes, row.shared_bytes, row.instructions)


def summary(rows: Sequence[Row], archs: Sequence[int]) -> Iterator[str]:
    """A table of the worst of each kernel, dtype and width: registers / spilled / shared bytes."""
    yield _line("kernel", "dtype", "D", "settings", *(f"sm_{arch}" for arch in archs))
    yield "|---" * (4 + len(archs)) + "|"
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kernel, row.channels, row.dtype), []).append(row)
    for (kernel, channels, dtype), group in sorted(groups.items()):
        cells = [_worst([row for row in group if row.arch == arch]) for arch in archs]
        yield _line(kernel, dtype, channels or "", len({row.case for row in group}), *cells)


def _worst(rows: Sequence[Row]) -> str:
    if not rows:
        return "not compiled"
    numbers = [(row.registers, row.spill_bytes, row.shared_bytes) for row in rows]
    return " / ".join(str(max(column)) for column in zip(*numbers, strict=True))


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
