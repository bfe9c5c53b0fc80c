"""Tables of results, as text for terminals and as HTML for notebooks."""

import abc
import html
from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Rows of cells under a title, the first row with the titles of the columns, notes below, one a line, and more."""

    title: str
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    below: "Table | None" = None

    def to_text(self) -> str:
        """Columns set with spaces, and the notes."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows]
        return "\n".join([*lines, "", *self.notes] if self.notes else lines)

    def to_html(self) -> str:
        """All of it."""
        head, *body = self.rows
        lines = [f"<thead><tr>{_cells('th', head)}</tr></thead>", *(f"<tr>{_cells('td', row)}</tr>" for row in body)]
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes if note)
        table = f"<div><strong>{html.escape(self.title)}</strong></div><table>{''.join(lines)}</table>{notes}"
        return table + (self.below.to_html() if self.below else "")


class AbstractReport(abc.ABC):
    """What prints as a table, in terminals and in notebooks."""

    @abc.abstractmethod
    def _table(self) -> Table:
        """The table."""

    def summary(self) -> str:
        """What is found and what to beware of, as a text table."""
        return self._table().to_text()

    def __repr__(self) -> str:
        table = self._table()
        return "\n\n".join([table.title, table.to_text(), *([table.below.to_text()] if table.below else [])])

    def _repr_html_(self) -> str:
        return self._table().to_html()


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
