"""Files of results: JSON with the machine and the versions that the numbers come from."""

import json
import math
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from data_scripts.atomic import write_text
from eval.environment import environment


def write_record(path: Path, **parts: Any) -> None:
    """Writes `parts`, each under its name, and the environment beside them, whole or not at all.

    Args:
        path: of the file.
        parts: what `plain` takes: the settings of the command, its rows.
    """
    document = {"environment": environment()} | plain(parts)
    write_text(path, json.dumps(document, indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """The same as JSON has it, at any depth.

    Dataclasses become objects, paths text, and infinity and NaN null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
