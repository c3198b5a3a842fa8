"""A griffe extension: the comment at a field of a class is what the reference says of that field.

The sources describe fields by a comment above, behind or inside them, which griffe does not read. A docstring
below a field goes first.
"""

import ast
import io
import tokenize
from pathlib import Path
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Gives every annotated field of a class its comment as docstring, where it has none."""

    def on_class_members(
        self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **_: Any
    ) -> None:
        """Called by griffe once for each class, when its members are there."""
        path = cls.filepath
        if not isinstance(node, ast.ClassDef) or not isinstance(path, Path):
            return
        comments = comments_by_line("\n".join(cls.lines_collection[path]))
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                member = cls.members[field.target.id]
                text = comment_of(field, comments)
                if text and isinstance(member, griffe.Attribute) and not member.docstring:
                    member.docstring = griffe.Docstring(text, parent=member)


def comments_by_line(source: str) -> dict[int, tuple[str, bool]]:
    """Text of the comment on each line that has one, and whether nothing else stands there."""
    return {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and "noqa" not in token.string
    }


def comment_of(field: ast.AnnAssign, comments: dict[int, tuple[str, bool]]) -> str:
    """The lines of comment right above `field` and those on its own lines, as one text."""
    first = field.lineno
    while comments.get(first - 1, ("", False))[1]:
        first -= 1
    lines = range(first, (field.end_lineno or field.lineno) + 1)
    return " ".join(comments[line][0] for line in lines if line in comments)
