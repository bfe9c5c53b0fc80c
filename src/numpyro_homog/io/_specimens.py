"""`load_specimens` and `save_specimens`: tables of measured effective tensors."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .._store import write_whole
from ..tensors import mandel_factors
from ._columns import INDICES, component_names, find_columns
from ._tables import is_number, read_table

_MAX_FAULTS_SHOWN = 10
_MIN_SPECIMENS = 2


def load_specimens(
    source: Any, *, symbol: str | None = None, symmetry_tolerance: float = 1e-6
) -> Float[np.ndarray, "specimens d d"]:
    """Read measured effective tensors, a row each, from a CSV file or a frame of pandas.

    The names of the columns say what the tensors are; their order and case do not matter, columns of other names are
    ignored:

    - conductivities: K11, K12, K22, or K11, K12, K13, K22, K23, K33 in three dimensions;
    - stiffnesses in Voigt notation (C44 = C_2323 is a shear modulus): C11, C12, ..., C66, the 21 of the upper triangle,
      in the order 11, 22, 33, 23, 13, 12 (Abaqus has another one); in the plane C11, C12, C16, C22, C26, C66, or C11,
      C12, C13, C22, C23, C33;
    - stiffnesses in Mandel notation (M44 = 2 C_2323): M11, M12, ..., M66, in the plane M11, M12, M13, M22, M23, M33.

    All components of the matrix may be named instead. Stiffnesses are returned in Mandel notation, that of the
    effective tensors of `LinearElasticity`, whichever the file has.

    In a file, fields are separated by commas, semicolons or tabulators, numbers have a decimal point. Lines that begin
    with ``#`` and empty lines are skipped.

    Args:
        source: path of a text file, UTF-8 (a byte order mark and any line ends are fine), or a pandas DataFrame.
        symbol: "K", "C" or "M", where the header names several tensors (joint measurements).
        symmetry_tolerance: of a full tensor, the largest ``|K_ij - K_ji|`` that is accepted, relative to the
            largest component of that tensor, >= 0. What is accepted is replaced by the symmetric part.

    Returns:
        Symmetric positive definite tensors in the order and the unit of the source, shape (specimens, d, d), float64;
        stiffnesses as Mandel matrices, shape (specimens, 3, 3) in the plane or (specimens, 6, 6).

    Raises:
        ValueError: if the file is empty or not text, has no header, or names too few, ambiguous or duplicate columns.
            If a row has too few or too many fields, a field that is not a finite number, or a tensor that is not
            symmetric or not positive definite; all such rows are gathered in one error, with their line numbers, or
            their labels in a frame. If there are fewer than 2 specimens. Or if `symmetry_tolerance` is negative.
        TypeError: if `source` is neither a path nor a frame.
        OSError: if the file cannot be opened.

    Example:
        >>> save_specimens("plates.csv", np.eye(2) * np.array([1.5, 2.5])[:, None, None])
        >>> load_specimens("plates.csv").shape
        (2, 2, 2)
    """
    if not symmetry_tolerance >= 0:
        raise ValueError(f"symmetry_tolerance is a relative difference, >= 0; got {symmetry_tolerance}.")
    table = read_table(source)
    letter, indices, components = find_columns(table, symbol)
    places: list[str] = []
    values: list[list[float]] = []
    faults: dict[int, str] = {}
    for place, fields, fault in table.rows:
        if fault := fault or _row_fault(fields, components, len(table.header)):
            faults[len(places)] = fault
        places.append(place)
        values.append([np.nan if fault else float(fields[position]) for position in components.values()])
    stack = np.empty((len(places), len(indices), len(indices)))
    rows, columns = ([indices.index(int(name[axis])) for name in components] for axis in (1, 2))
    # Of a full tensor the second assignment replaces all of the first.
    stack[:, columns, rows] = stack[:, rows, columns] = np.reshape(values, (-1, len(components)))
    _raise_faults(table.name, places, dict(_tensor_faults(stack, symmetry_tolerance)) | faults)
    if len(stack) < _MIN_SPECIMENS:
        raise ValueError(
            f"{table.name} is too short: it holds {len(stack)} specimen{'s' * (len(stack) != 1)} below its header, "
            f"and a distribution needs at least {_MIN_SPECIMENS}."
        )
    stack = (stack + stack.swapaxes(1, 2)) / 2
    return stack * mandel_factors(len(indices)) if letter == "C" else stack


def save_specimens(path: str | os.PathLike[str], tensors: Any, *, symbol: str = "K", digits: int = 17) -> None:
    """Write effective tensors to a CSV file that `load_specimens` reads: its inverse.

    The file appears complete or not at all: it is written under a temporary name in the same folder and renamed.
    An existing file is replaced.

    Args:
        path: the file, conventionally ``*.csv``.
        tensors: symmetric positive definite tensors, at least 2 specimens: conductivities, shape (specimens, d, d),
            d = 2 or 3, or stiffnesses as Mandel matrices, shape (specimens, m, m), m = 3 or 6.
        symbol: what they are, and the letter of the columns: "K", conductivities; "M", stiffnesses, written in Mandel
            notation; "C", stiffnesses, converted and written in Voigt notation.
        digits: significant digits, 1 to 17. 17 return every float64 unchanged (of "C" the last digit may differ).

    Raises:
        ValueError: if `tensors` is not as described (the faulty specimens are named by their index), or `symbol`, or
            `digits`.
        OSError: if the file cannot be written.
    """
    if not 1 <= digits <= 17:
        raise ValueError(f"digits is {digits}; a float64 has 1 to 17 significant digits.")
    if symbol not in INDICES:
        raise ValueError(f"symbol must be one of {', '.join(map(repr, INDICES))}; got {symbol!r}.")
    stack = np.asarray(tensors, dtype=np.float64)
    sizes = {len(indices): indices for indices in reversed(INDICES[symbol])}
    size = stack.shape[-1] if stack.ndim == 3 else 0
    if stack.shape[1:] != (size, size) or size not in sizes or len(stack) < _MIN_SPECIMENS:
        raise ValueError(
            f"save_specimens expects tensors of shape (specimens, d, d) with d = {' or '.join(map(str, sorted(sizes)))}"
            f" for symbol={symbol!r} and at least {_MIN_SPECIMENS} specimens; got shape {stack.shape}."
            + (" Rows of unique components become tensors by tensors.from_unique_components." * (stack.ndim == 2))
            + (" Stiffnesses have symbol='M' (Mandel notation) or 'C' (Voigt notation)." * (stack.shape[-1:] == (6,)))
        )
    _raise_faults("tensors", [f"specimen {i}" for i in range(len(stack))], dict(_tensor_faults(stack, 1e-6)))
    stack = stack / mandel_factors(size) if symbol == "C" else stack
    table = stack[(slice(None), *np.triu_indices(size))]
    options: dict[str, Any] = {"header": ",".join(component_names(symbol, sizes[size])), "comments": ""}
    write_whole(Path(path), lambda file: np.savetxt(file, table, f"%.{digits}g", ",", **options))


def _row_fault(fields: list[str], components: dict[str, int], num_fields: int) -> str:
    """What is wrong with the fields of a row; empty if nothing."""
    if len(fields) < num_fields:
        return f"too few fields: {len(fields)}, but the header has {num_fields}"
    if any(fields[num_fields:]):
        return f"too many fields: {len(fields)}, but the header has {num_fields} (a decimal comma?)"
    faults = []
    for name, field in ((name, fields[position]) for name, position in components.items()):
        if not field:
            faults.append(f"{name} is empty")
        elif not is_number(field):
            hint = " (write a decimal point)" if is_number(field.replace(",", ".")) else ""
            faults.append(f"{name} is not a number: {field!r}{hint}")
        elif not math.isfinite(float(field)):
            faults.append(f"{name} is not finite: {field}")
    return "; ".join(faults)


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
            reason = f"the components across the diagonal differ by {asymmetry[i]:.2g} of the largest component"
            yield i, f"not symmetric: {reason}, tolerated is {symmetry_tolerance:.2g}"
        elif not least[i] > 4 * np.finfo(np.float64).eps:
            yield i, f"not positive definite: the least eigenvalue is {least[i] * scale[i]:.4g}"


def _raise_faults(name: str, places: list[str], faults: dict[int, str]) -> None:
    if faults:
        lines = [f"{name}: {len(faults)} of {len(places)} specimens cannot be used."]
        lines += [f"  {places[i]}: {faults[i]}" for i in sorted(faults)[:_MAX_FAULTS_SHOWN]]
        if len(faults) > _MAX_FAULTS_SHOWN:
            lines.append(f"  ... and {len(faults) - _MAX_FAULTS_SHOWN} more")
        raise ValueError("\n".join(lines))
