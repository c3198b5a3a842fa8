"""Tables on the terminal, or wide enough to read where the output goes into a file."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 160  # columns where the output is no terminal; rich would take 80


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables one below the other."""
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for table in tables:
        console.print(table)
