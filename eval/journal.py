"""Scores of pairs as they are made: a line of JSON each, so that a scoring that is killed goes on.

The first line says what the scores are of; scores of anything else are thrown away. A line that was cut by a
kill is dropped, and a pair that stands there twice counts once.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Row = dict[str, Any]


class Journal:
    """Rows by their keys, in a file that only grows.

    Args:
        path: of the file; its folder must be there.
        identity: what the scores are of.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.rows: dict[str, Row] = {}
        kept = [json.dumps({"identity": identity})]
        lines = path.read_text().split("\n") if path.is_file() else []
        if lines[:1] == kept:
            for line in lines[1:-1]:  # what follows the last line end was cut
                try:
                    found = json.loads(line)
                except json.JSONDecodeError:
                    break  # the disk lost the end
                if found["key"] not in self.rows:
                    self.rows[found["key"]] = found["row"]
                    kept.append(line)
        temporary = path.with_name(f".{path.name}")
        temporary.write_text("\n".join([*kept, ""]))
        temporary.replace(path)
        self._file = path.open("a")

    def add(self, key: str, row: Row) -> None:
        """Keeps a row; JSON with NaN and Infinity as Python writes them."""
        if key in self.rows:
            return
        self._file.write(json.dumps({"key": key, "row": row}) + "\n")
        self._file.flush()
        self.rows[key] = row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()
