"""Where tests find data and reference numbers that are too big, or not ours, to be committed."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(path: str) -> Path:
    """`path` under ../shared; skips the test, saying so, where that is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{found} is absent: it holds data that is not part of the repository")
    return found
