"""Tables of text: for a terminal, or in Markdown."""

from collections.abc import Iterable, Sequence

from rich.table import Table


def terminal_table(
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    remarks: Sequence[str] = (),
    title: str | None = None,
    *,
    wrap: bool = False,
) -> Table:
    """Cells under the names of their columns, with remarks below, for a terminal.

    Args:
        names: of the columns.
        rows: one cell a column; a row with "(published)" in it is dim.
        remarks: a line each.
        title: above the table.
        wrap: whether cells may be broken into lines.
    """
    table = Table(
        title=title, caption="\n".join(remarks), caption_justify="left", title_justify="left"
    )
    for name in names:
        table.add_column(name, no_wrap=not wrap)
    for cells in rows:
        style = "dim" if any("(published)" in cell for cell in cells) else None
        table.add_row(*cells, style=style)
    return table


def markdown(
    names: Sequence[str], rows: Iterable[Sequence[str]], remarks: Sequence[str] = ()
) -> str:
    """The same in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join(
        [table, "", *(f"- {remark}" for remark in remarks), *([""] if remarks else [])]
    )
