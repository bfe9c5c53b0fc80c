"""Tables: CSV files and frames of pandas, as fields of text with the place of each row."""

import csv
import numbers
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_DELIMITERS = (",", ";", "\t")


class Table(NamedTuple):
    """A table whose rows are read one by one."""

    name: str  # the file, for messages
    place: str  # of the header
    header: list[str]
    rows: Iterator[tuple[str, list[str], str]]  # place, fields, and what is wrong (empty if nothing)


def read_table(source: Any) -> Table:
    """The table of a CSV file, or of a frame, each of whose rows is known by its label."""
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    try:
        header, rows = [str(name).strip() for name in source.columns], source.itertuples(name=None)
    except AttributeError:
        raise TypeError(
            f"load_specimens reads a file, or a frame of pandas; got {type(source).__name__}. An array of tensors,"
            " shape (specimens, d, d), needs no reading; rows of unique components become one by"
            " numpyro_homog.tensors.from_unique_components."
        ) from None
    return Table("The frame", "columns", header, ((f"row {row[0]!r}", list(map(_text, row[1:])), "") for row in rows))


def _read_file(path: Path) -> Table:
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "\0" in text:
        raise ValueError(f"{path} is not a text file in UTF-8; export the table as CSV (UTF-8) and load that.")
    rows = _rows(text)
    place, header, fault = next(rows, ("", [], ""))
    if fault:
        raise ValueError(f"{path}, {place}: {fault}.")
    if not header:
        raise ValueError(f"{path} is empty; expected a header such as K11,K12,K22 and one line for each specimen.")
    if all(map(is_number, filter(None, header))):
        raise ValueError(
            f"{path} has no header: its first row ({place}) is numeric. Put the names of the columns above it, "
            "for instance K11,K12,K22."
        )
    return Table(str(path), place, header, rows)


def _rows(text: str) -> Iterator[tuple[str, list[str], str]]:
    """Each line that is no comment and not empty; lines count from 1."""
    delimiter = ""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # The header knows the delimiter: the one that cuts it into the most columns.
        delimiter = delimiter or max(_DELIMITERS, key=line.count)
        try:
            # Line by line: an unbalanced quotation mark must not swallow the specimens below it.
            (fields,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
        except csv.Error as error:
            yield f"line {number}", [], f"unbalanced quotation marks ({error})"
        else:
            if any(fields := [field.strip() for field in fields]):
                yield f"line {number}", fields, ""


def is_number(field: str) -> bool:
    """Whether a field is a number with a decimal point."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # `float` reads 1_000 as a thousand


def _text(value: object) -> str:
    return repr(float(value)) if isinstance(value, numbers.Real) else str(value).strip()
