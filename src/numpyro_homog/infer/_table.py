"""Tables of results, as text for terminals and as HTML for notebooks."""

import html
from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Rows of cells, the first row with the titles of the columns, and notes below, one a line."""

    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def to_text(self) -> str:
        """Columns set with spaces."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows]
        return "\n".join([*lines, "", *self.notes] if self.notes else lines)

    def to_html(self, title: str) -> str:
        """The same as an HTML table under a title."""
        head, *body = self.rows
        lines = [f"<thead><tr>{_cells('th', head)}</tr></thead>", *(f"<tr>{_cells('td', row)}</tr>" for row in body)]
        notes = [f"<div>{html.escape(note)}</div>" for note in self.notes if note]
        return f"<div><strong>{html.escape(title)}</strong></div><table>{''.join(lines)}</table>{''.join(notes)}"


def _cells(tag, row):
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
