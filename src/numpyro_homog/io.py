"""Files of measured effective tensors: `load_specimens` and `save_specimens`."""

import csv
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float

_TENSOR_COLUMN = re.compile(r"K[1-9][1-9]")
_DELIMITERS = (",", ";", "\t")
_MAX_FAULTS_SHOWN = 10
_MIN_SPECIMENS = 2


def load_specimens(
    path: str | os.PathLike[str], *, symmetry_tolerance: float = 1e-6
) -> Float[np.ndarray, "specimens d d"]:
    """Read the effective tensors of measured specimens from a CSV file, one specimen a row.

    The file starts with a header. It names the columns K11, K12, K22, or K11, K12, K13, K22, K23, K33 in three
    dimensions, or all d * d components; their order and case do not matter. Columns of other names are ignored.
    Fields are separated by commas, semicolons or tabulators, numbers have a decimal point. Lines that begin with
    ``#`` and empty lines are skipped.

    Args:
        path: a text file, UTF-8 (a byte order mark and any line ends are fine).
        symmetry_tolerance: of a full tensor, the largest ``|K_ij - K_ji|`` that is accepted, relative to the
            largest component of that tensor, >= 0. What is accepted is replaced by the symmetric part.

    Returns:
        Symmetric positive definite tensors in the order and the unit of the file, shape (specimens, d, d), float64.

    Raises:
        ValueError: if the file is empty or not text, has no header, or names too few, ambiguous or duplicate columns.
            If a row has too few or too many fields, a field that is not a finite number, or a tensor that is not
            symmetric or not positive definite; all such rows are gathered in one error, with their line numbers.
            If there are fewer than 2 specimens. Or if `symmetry_tolerance` is negative.
        OSError: if the file cannot be opened.

    Example:
        >>> save_specimens("plates.csv", np.eye(2) * np.array([1.5, 2.5])[:, None, None])
        >>> load_specimens("plates.csv").shape
        (2, 2, 2)
    """
    if not symmetry_tolerance >= 0:
        raise ValueError(f"symmetry_tolerance is a relative difference, >= 0; got {symmetry_tolerance}.")
    path = Path(path)
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "\0" in text:
        raise ValueError(f"{path} is not a text file in UTF-8; export the table as CSV (UTF-8) and load that.")
    rows = _rows(text)
    line, header, fault = next(rows, (0, [], ""))
    if fault:
        raise ValueError(f"{path}, line {line}: {fault}.")
    if not header:
        raise ValueError(f"{path} is empty; expected a header such as K11,K12,K22 and one line for each specimen.")
    columns, d = _columns(path, line, header)

    lines: list[int] = []
    tensors: list[np.ndarray] = []
    faults: list[tuple[int, str]] = []
    for line, row, fault in rows:
        components: dict[str, float] = {}
        if not fault:
            components, fault = _components(row, columns, len(header))
        if fault:
            faults.append((line, fault))
        else:
            lines.append(line)
            tensors.append(_assemble(components, d))
    stack = np.array(tensors, dtype=np.float64).reshape(-1, d, d)
    faults += [(lines[i], fault) for i, fault in _tensor_faults(stack, symmetry_tolerance)]
    if faults:
        num_rows = len({*lines, *(line for line, _ in faults)})
        _raise_faults(f"{path}: {len(faults)} of {num_rows} specimens", "line", faults)
    if len(stack) < _MIN_SPECIMENS:
        raise ValueError(
            f"{path} is too short: it holds {len(stack)} specimen{'s' * (len(stack) != 1)} below its header, "
            f"and a distribution needs at least {_MIN_SPECIMENS}."
        )
    return (stack + stack.swapaxes(1, 2)) / 2


def save_specimens(path: str | os.PathLike[str], tensors: Any, *, digits: int = 17) -> None:
    """Write effective tensors to a CSV file that `load_specimens` reads: its inverse.

    The file appears complete or not at all: it is written under a temporary name in the same folder and renamed.
    An existing file is replaced.

    Args:
        path: the file, conventionally ``*.csv``.
        tensors: symmetric positive definite tensors, shape (specimens, d, d), d = 2 or 3, at least 2 specimens.
        digits: significant digits, 1 to 17. 17 return every float64 unchanged.

    Raises:
        ValueError: if `tensors` is not as described (the faulty specimens are named by their index), or `digits`.
        OSError: if the file cannot be written.
    """
    if not 1 <= digits <= 17:
        raise ValueError(f"digits is {digits}; a float64 has 1 to 17 significant digits.")
    stack = np.asarray(tensors, dtype=np.float64)
    if stack.ndim != 3 or stack.shape[1:] not in ((2, 2), (3, 3)) or len(stack) < _MIN_SPECIMENS:
        raise ValueError(
            f"save_specimens expects tensors of shape (specimens, d, d) with d = 2 or 3 and at least "
            f"{_MIN_SPECIMENS} specimens; got shape {stack.shape}."
        )
    faults = list(_tensor_faults(stack, 1e-6))
    if faults:
        _raise_faults(f"tensors: {len(faults)} of {len(stack)} specimens", "specimen", faults)
    names = _upper_names(stack.shape[1])
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for tensor in stack:
                writer.writerow([f"{tensor[_index(name)]:.{digits}g}" for name in names])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _rows(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Number of each line (from 1), its fields, and what is wrong with it; comments and empty lines are skipped."""
    delimiter = ""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # The header knows the delimiter: the one that cuts it into the most columns.
        delimiter = delimiter or max(_DELIMITERS, key=line.count)
        try:
            # Line by line: an unbalanced quotation mark must not swallow the specimens below it.
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error as error:
            yield number, [], f"unbalanced quotation marks ({error})"
            continue
        fields = [field.strip() for field in fields]
        if any(fields):
            yield number, fields, ""


def _columns(path: Path, line: int, header: list[str]) -> tuple[dict[str, int], int]:
    """Positions of the tensor's columns by name, and the dimension."""
    if all(_is_number(field) for field in header if field):
        raise ValueError(
            f"{path} has no header: its first row (line {line}) is numeric. Put the names of the columns above it, "
            "for instance K11,K12,K22."
        )
    names = [name.upper() for name in header]
    came = [name for name in names if _TENSOR_COLUMN.fullmatch(name)]
    duplicates = sorted({name for name in came if came.count(name) > 1})
    if duplicates:
        raise ValueError(
            f"{path}, line {line}: the header names {', '.join(duplicates)} more than once; keep one each."
        )
    for d in (2, 3):
        for expected in (_upper_names(d), _full_names(d)):
            if set(came) == set(expected):
                return {name: names.index(name) for name in expected}, d
    # A column such as K33 beside K11, K12, K22 is not ignored: the tensor would silently be another one.
    d = 3 if any("3" in name for name in came) else 2
    expected = _full_names(d) if any(name[1] > name[2] for name in came) else _upper_names(d)
    missing = [name for name in expected if name not in came]
    unknown = [name for name in came if name not in expected]
    raise ValueError(
        f"{path}, line {line}: the columns do not make a tensor. The header names {', '.join(map(repr, header))}; "
        f"expected {', '.join(expected)} ({d}D)"
        + (f"; missing {', '.join(missing)}" if missing else "")
        + (f"; not a component in {d}D: {', '.join(unknown)}" if unknown else "")
        + ". Accepted are K11,K12,K22 or all four in 2D, K11,K12,K13,K22,K23,K33 or all nine in 3D."
    )


def _components(row: list[str], columns: dict[str, int], num_fields: int) -> tuple[dict[str, float], str]:
    """The tensor's components of a row, and what is wrong with it (empty if nothing)."""
    if len(row) < num_fields:
        return {}, f"too few fields: {len(row)}, but the header has {num_fields}"
    if any(row[num_fields:]):
        return {}, f"too many fields: {len(row)}, but the header has {num_fields} (a decimal comma?)"
    components, faults = {}, []
    for name, position in columns.items():
        field = row[position]
        if not field:
            faults.append(f"{name} is empty")
        elif not _is_number(field):
            hint = " (write a decimal point)" if _is_number(field.replace(",", ".")) else ""
            faults.append(f"{name} is not a number: {field!r}{hint}")
        elif not math.isfinite(float(field)):
            faults.append(f"{name} is not finite: {field}")
        else:
            components[name] = float(field)
    return components, "; ".join(faults)


def _tensor_faults(tensors: np.ndarray, symmetry_tolerance: float) -> Iterator[tuple[int, str]]:
    """Index of, and reason against, each tensor that is not finite, symmetric and positive definite."""
    finite = np.isfinite(tensors).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], tensors, np.eye(tensors.shape[1]))
    scale = np.abs(safe).max(axis=(1, 2))
    # Divided by their largest component, so that nothing over- or underflows.
    scaled = safe / np.where(scale > 0, scale, 1.0)[:, None, None]
    asymmetry = np.abs(scaled - scaled.swapaxes(1, 2)).max(axis=(1, 2))
    least = np.linalg.eigvalsh((scaled + scaled.swapaxes(1, 2)) / 2)[:, 0]
    for i in range(len(tensors)):
        if not finite[i]:
            yield i, "not finite"
        elif not asymmetry[i] <= symmetry_tolerance:
            yield (
                i,
                (
                    f"not symmetric: the components across the diagonal differ by {asymmetry[i]:.2g} of the largest "
                    f"component, tolerated is {symmetry_tolerance:.2g}"
                ),
            )
        elif not least[i] > 4 * np.finfo(np.float64).eps:
            yield i, f"not positive definite: the least eigenvalue is {least[i] * scale[i]:.4g}"


def _raise_faults(what: str, place: str, faults: list[tuple[int, str]]) -> NoReturn:
    shown = [f"  {place} {position}: {fault}" for position, fault in sorted(faults)[:_MAX_FAULTS_SHOWN]]
    if len(faults) > len(shown):
        shown.append(f"  ... and {len(faults) - len(shown)} more")
    raise ValueError("\n".join([f"{what} cannot be used.", *shown]))


def _is_number(field: str) -> bool:
    # `float` would read 1_000 as a thousand.
    if "_" in field:
        return False
    try:
        float(field)
    except ValueError:
        return False
    return True


def _assemble(components: dict[str, float], d: int) -> np.ndarray:
    tensor = np.empty((d, d))
    for name, value in components.items():
        i, j = _index(name)
        tensor[i, j] = value
        if f"K{name[2]}{name[1]}" not in components:
            tensor[j, i] = value
    return tensor


def _index(name: str) -> tuple[int, int]:
    return int(name[1]) - 1, int(name[2]) - 1


def _upper_names(d: int) -> list[str]:
    return [f"K{i}{j}" for i in range(1, d + 1) for j in range(i, d + 1)]


def _full_names(d: int) -> list[str]:
    return [f"K{i}{j}" for i in range(1, d + 1) for j in range(1, d + 1)]
