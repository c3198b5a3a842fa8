"""One self-contained HTML page: text, a table, and pictures as data inside the file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from data_scripts.atomic import write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; white-space: nowrap }
th { background: #f4f4f4 } tr.published { color: #777; font-style: italic }
img { max-width: 100%; display: block; margin: .5rem 0 }
figure { margin: 1.5rem 0 } figcaption { color: #555 } .wide { overflow-x: auto }
""".strip()


@dataclass(frozen=True)
class Section:
    """A heading with, below it, a table, remarks and pictures; each may be empty."""

    title: str
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    remarks: Sequence[str] = ()
    pictures: Sequence[tuple[Path, str]] = field(default=())  # a PNG and what it shows


def write_html(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Writes the page, whole or not at all; it needs no other file."""
    body = "\n".join(map(_section, sections))
    text = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )
    write_text(path, text)


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.rows:
        head = "".join(f"<th>{escape(name)}</th>" for name in section.headings)
        rows = "\n".join(map(_row, section.rows))
        parts.append(f'<div class="wide"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>')
    if section.remarks:
        lines = "\n".join(f"<li>{escape(remark)}</li>" for remark in section.remarks)
        parts.append(f"<ul>\n{lines}\n</ul>")
    parts += [_picture(path, caption) for path, caption in section.pictures]
    return "\n".join(parts)


def _row(cells: Sequence[str]) -> str:
    kind = ' class="published"' if any("(published)" in cell for cell in cells) else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _picture(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    words = escape(caption)
    return (
        f'<figure><img alt="{words}" src="data:image/png;base64,{data}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
