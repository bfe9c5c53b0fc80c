"""Which columns of a table make a tensor."""

import math
import re
from typing import NamedTuple

import numpy as np

from ._tables import Table, is_number

# Indices along one axis of the tensors that a letter may name: conductivities, and stiffnesses in the notations of
# Voigt (of a plane one the shear is 6 or 3) and Mandel.
INDICES = {
    "K": ((1, 2), (1, 2, 3)),
    "C": ((1, 2, 6), (1, 2, 3), (1, 2, 3, 4, 5, 6)),
    "M": ((1, 2, 3), (1, 2, 3, 4, 5, 6)),
}
_ACCEPTED = {
    "K": "K11,K12,K22 or all four in 2D, K11,K12,K13,K22,K23,K33 or all nine in 3D",
    "C": "stiffnesses in Voigt notation, C11,C12,C16,C22,C26,C66 (or C11,C12,C13,C22,C23,C33) in 2D and C11,C12,...,C66"
    " (21 of them) in 3D, or all",
    "M": "stiffnesses in Mandel notation, M11,M12,M13,M22,M23,M33 in 2D and M11,M12,...,M66 (21 of them) in 3D, or all",
}


class Columns(NamedTuple):
    """The columns of a tensor.

    Attributes:
        symbol: its letter.
        size: of the tensor along one axis.
        positions: name, row and column in the tensor, and position in the table, of each component.
    """

    symbol: str
    size: int
    positions: list[tuple[str, int, int, int]]

    def tensor(self, fields: list[str], num_fields: int) -> tuple[np.ndarray, str]:
        """The tensor of a row, and what is wrong with it (empty if nothing)."""
        tensor = np.full((self.size, self.size), np.nan)
        if len(fields) < num_fields:
            return tensor, f"too few fields: {len(fields)}, but the header has {num_fields}"
        if any(fields[num_fields:]):
            return tensor, f"too many fields: {len(fields)}, but the header has {num_fields} (a decimal comma?)"
        faults = []
        for name, i, j, position in self.positions:
            field = fields[position]
            if not field:
                faults.append(f"{name} is empty")
            elif not is_number(field):
                hint = " (write a decimal point)" if is_number(field.replace(",", ".")) else ""
                faults.append(f"{name} is not a number: {field!r}{hint}")
            elif not math.isfinite(float(field)):
                faults.append(f"{name} is not finite: {field}")
            else:
                tensor[i, j] = float(field)
        return np.where(np.isnan(tensor), tensor.T, tensor), "; ".join(faults)


def find_columns(table: Table, symbol: str | None) -> Columns:
    """The columns of the tensor that the header names, or of that with the given letter.

    Raises:
        ValueError: if they are too few, ambiguous or named twice.
    """
    if symbol is not None and symbol not in INDICES:
        raise ValueError(f"symbol must be one of {', '.join(map(repr, INDICES))}; got {symbol!r}.")
    names = [name.upper() for name in table.header]
    came = {
        letter: [name for name in names if re.fullmatch(f"{letter}[1-9][1-9]", name)]
        for letter in (INDICES if symbol is None else symbol)
    }
    complete = {}
    for letter, own in came.items():
        duplicates = sorted({name for name in own if own.count(name) > 1})
        if duplicates:
            raise ValueError(
                f"{table.name}, {table.place}: the header names {', '.join(duplicates)} more than once; keep one each."
            )
        for indices in INDICES[letter]:
            for expected in (component_names(letter, indices), component_names(letter, indices, full=True)):
                if set(own) == set(expected):
                    complete[letter] = (indices, expected)
    if len(complete) > 1:
        raise ValueError(
            f"{table.name}, {table.place}: the header names several tensors; choose one by symbol=..., there are"
            f" {', '.join(map(repr, complete))}."
        )
    if not complete:
        _raise_incomplete(table, came)
    ((letter, (indices, expected)),) = complete.items()
    places = [(indices.index(int(name[1])), indices.index(int(name[2]))) for name in expected]
    return Columns(
        letter, len(indices), [(name, i, j, names.index(name)) for name, (i, j) in zip(expected, places, strict=True)]
    )


def component_names(symbol: str, indices: tuple[int, ...], *, full: bool = False) -> list[str]:
    """Names of the components, row by row, of the upper triangle or of all."""
    return [f"{symbol}{i}{j}" for i in indices for j in indices if full or i <= j]


def _raise_incomplete(table, came):
    letter = max(came, key=lambda letter: len(came[letter]))
    used = {int(digit) for name in came[letter] for digit in name[1:]} & {i for one in INDICES[letter] for i in one}
    # A column such as K33 beside K11, K12, K22 is not ignored: the tensor would silently be another one.
    indices = next(one for one in sorted(INDICES[letter], key=len) if used <= set(one))
    ndim = 2 if len(indices) == (2 if letter == "K" else 3) else 3
    expected = component_names(letter, indices, full=any(name[1] > name[2] for name in came[letter]))
    missing = [name for name in expected if name not in came[letter]]
    unknown = [name for name in came[letter] if name not in expected]
    raise ValueError(
        f"{table.name}, {table.place}: the columns do not make a tensor. The header names"
        f" {', '.join(map(repr, table.header))}; expected {', '.join(expected)} ({ndim}D)"
        + (f"; missing {', '.join(missing)}" if missing else "")
        + (f"; not a component in {ndim}D: {', '.join(unknown)}" if unknown else "")
        + f". Accepted are {'; '.join(_ACCEPTED[one] for one in came)}."
    )
