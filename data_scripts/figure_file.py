"""Figures of matplotlib in files, whole or not at all. Nothing heavy is imported here."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_scripts.atomic import replacing, writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


def finished(figure: "Figure", path: str | Path | None) -> "Figure":
    """The figure, written to `path` if there is one, in the format of its suffix.

    Raises:
        ValueError: another suffix than those of PICTURE_SUFFIXES, or nowhere to write; as OSError.
    """
    if path is not None:
        path = writable(path, PICTURE_SUFFIXES)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix.lower()[1:])
    return figure
