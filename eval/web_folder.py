"""Folders that nobody can guess, of which only the newest stay."""

import secrets
import shutil
from pathlib import Path

NAME_BYTES = 24  # 192 bits of chance


def fresh_folder(parent: Path, kept: int) -> Path:
    """A new folder with a random name in `parent`, for this user alone; the oldest beyond `kept` go."""
    parent.mkdir(mode=0o700, exist_ok=True)
    there = sorted(parent.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    for old in there[: max(0, len(there) - kept + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    folder = parent / secrets.token_urlsafe(NAME_BYTES)
    folder.mkdir(mode=0o700)
    return folder
