"""Numbers that papers and repositories report, from `published.toml`, each with its source."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Published:
    """One row of someone else's table; never measured here."""

    benchmark: str
    method: str
    metric: str  # such as AUC@5/10/20
    values: tuple[float, ...]
    protocol: str  # estimator, image size, training: what the number depends on
    source: str  # and whether it was read or recalled


@cache
def _tables() -> dict[str, tuple[Published, ...]]:
    document = tomllib.loads((files("eval") / "published.toml").read_text())
    tables = {}
    for benchmark, table in document.items():
        rows = [
            Published(
                benchmark,
                row["method"],
                row.get("metric", table["metric"]),
                tuple(float(value) for value in row["values"]),
                row.get("protocol", table["protocol"]),
                f"{row.get('source', table['source'])}"
                + ("; some from memory, not checked" if row.get("recalled") else ""),
            )
            for row in table["rows"]
        ]
        tables[benchmark] = tuple(rows)
    return tables


def published(benchmark: str) -> tuple[Published, ...]:
    """The published rows of a benchmark; none for a name that has none."""
    return _tables().get(benchmark, ())


def all_published() -> tuple[Published, ...]:
    """Every row of every benchmark."""
    return tuple(row for rows in _tables().values() for row in rows)
