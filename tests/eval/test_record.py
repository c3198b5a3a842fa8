import json
import math
from dataclasses import dataclass
from pathlib import Path

from eval.record import plain, write_record


@dataclass(frozen=True)
class Row:
    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Settings:
    out: Path
    rows: list[Row]


def test_everything_becomes_what_json_has():
    given = Settings(Path("a/b"), [Row("x", (1.5, math.inf, math.nan))])
    assert plain({"settings": given}) == {
        "settings": {"out": "a/b", "rows": [{"name": "x", "values": [1.5, None, None]}]}
    }


def test_a_record_has_its_parts_and_where_they_come_from(tmp_path):
    write_record(tmp_path / "r.json", settings=Settings(tmp_path, []), rows=[Row("y", (2.0,))])
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["settings"] == {"out": str(tmp_path), "rows": []}
    assert found["rows"] == [{"name": "y", "values": [2.0]}]
    assert {"torch", "machine", "commit", "device"} <= set(found["environment"])
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
